internal import Glibc
internal import LoadBalancing

/// Text with a line for each frame.
public struct TextOutput: CaptureOutput {
    public init() {}

    public func begin(_ interfaces: [(index: UInt32, name: String)], now: UInt64) -> [UInt8] { [] }

    public func show(_ frame: ShownFrame) -> [UInt8] {
        var lines = ""
        if frame.lost > 0 { lines += "(\(frame.lost) packets before the next one were lost: the buffer was full)\n" }
        if let remark = frame.remark { lines += "(\(remark))\n" }
        let way = frame.direction == .inbound ? "in " : "out"
        lines += "\(Self.clock(frame.time)) \(way) \(frame.name.onOneLine) \(PacketText.text(frame.frame.bytes))"
        return Array("\(lines) length \(frame.frame.length): \(frame.packet.fate)\n".utf8)
    }

    public func end(_ counts: [UInt32: CaptureCounts], now: UInt64) -> [UInt8] { [] }

    /// Returns the local time of day, in microseconds.
    private static func clock(_ nanoseconds: UInt64) -> String {
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var parts = tm()
        localtime_r(&seconds, &parts)
        let fraction = String(nanoseconds % 1_000_000_000 / 1000)
        let digits = [parts.tm_hour, parts.tm_min, parts.tm_sec].map { ($0 < 10 ? "0" : "") + String($0) }
        return digits.joined(separator: ":") + "." + String(repeating: "0", count: 6 - fraction.count) + fraction
    }
}
