import BPF
import Glibc
import SystemCalls
import XDPDataPlane

/// A directory on bpffs through which objects share maps while they are loaded.
final class PinDirectory {
    let path: String
    private static nonisolated(unsafe) var made = 0

    init() throws {
        Self.made += 1
        path = "/sys/fs/bpf/ipvsd-bench-\(getpid())-\(Self.made)"
        guard mkdir(path, 0o700) == 0 else {
            throw Failure("make \(path): \(String(cString: strerror(errno)))")
        }
    }

    /// Opens a map of the data plane.
    func map<Value>(_ map: SharedMap, _: Value.Type) throws -> BPFMap<UInt32, Value> {
        try open("\(map)", at: map.pin(below: path))
    }

    /// Opens a map of the benchmark.
    func map<Value>(_ name: String, _: Value.Type) throws -> BPFMap<UInt32, Value> {
        try open(name, at: "\(path)/\(name)")
    }

    private func open<Value>(_ name: String, at pin: String) throws -> BPFMap<UInt32, Value> {
        guard let map = try BPFMap<UInt32, Value>(name: name, pinnedAt: pin) else { throw Failure("no map \(pin)") }
        return map
    }

    // Open maps outlive their pins.
    deinit {
        for name in File.list(path) ?? [] { unlink("\(path)/\(name)") }
        rmdir(path)
    }
}

/// The error of a benchmark that cannot run, or whose figures would be worth nothing.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
