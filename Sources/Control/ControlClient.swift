public import Director
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1

/// A line of the event stream.
public enum EventLine: Sendable {
    /// An event, with its line of JSON as received.
    case event(DirectorEvent, json: String)
    /// The number of events that are missing before the next event, as the daemon no longer keeps them.
    case missed(UInt64)
}

/// A client of the daemon's control socket.
public struct ControlClient: Sendable {
    /// An answer of the daemon with another HTTP status than 200.
    public struct Refusal: Error, CustomStringConvertible {
        public let status: UInt
        let body: [UInt8]
        /// The director's error; nil: the body is not a `DirectorError`.
        public var directorError: DirectorError? { try? JSONDecoder().decode(DirectorError.self, from: Data(body)) }
        public var description: String { status == 503 ? "the director is still starting" : "HTTP status \(status)" }
    }

    /// The error of a daemon that sent nothing within the time limit.
    public struct Silence: Error {
        public let seconds: Int64
        /// Whether a daemon that has not begun with the request will drop it, as the connection has ended
        /// (`OnlyWhileAwaited`).
        public let isVoid: Bool
    }

    /// The error of a connection that ended before the daemon's answer did.
    public struct Cut: Error {}

    /// The error of an answer, or of a line of the event stream, that exceeds the limit.
    public struct TooLarge: Error, CustomStringConvertible {
        let limit: Int
        public var description: String { "an answer of more than \(limit) bytes" }
    }

    private let socket: String
    private let timeout: Duration
    /// The largest size of an answer, or of a line of the event stream, in bytes.
    private let limit: Int

    public init(socket: String, timeoutSeconds: Int64 = 5) {
        self.init(socket: socket, timeout: .seconds(timeoutSeconds))
    }

    init(socket: String, timeout: Duration, limit: Int = 256 << 20) {
        self.socket = socket
        self.timeout = timeout
        self.limit = limit
    }

    public func status() async throws -> DirectorStatus {
        try JSONDecoder().decode(DirectorStatus.self, from: Data(try await request(.GET, "/status")))
    }

    /// Has the daemon read its configuration file again. Returns a summary of the changes. Throws a `ReloadRefusal`
    /// where the daemon refuses the file.
    public func reload() async throws -> String {
        let answer: [UInt8]
        do { answer = try await request(.POST, "/reload") } catch let refusal as Refusal where refusal.status == 409 {
            throw try JSONDecoder().decode(ReloadRefusal.self, from: Data(refusal.body))
        }
        return try JSONDecoder().decode([String: String].self, from: Data(answer))["message"] ?? ""
    }

    /// Drains a real server. Throws a `DirectorError` where the director refuses.
    public func drain(_ wanted: DrainRequest) async throws -> DrainReport {
        try await ask(.POST, "/drain", body: try JSONEncoder().encode(wanted))
    }

    /// Ends a drain. Throws a `DirectorError` where the director refuses.
    public func undrain(_ wanted: DrainRequest) async throws -> DrainReport {
        try await ask(.POST, "/undrain", body: try JSONEncoder().encode(wanted))
    }

    /// Returns the state of a drain. Throws a `DirectorError` where the director refuses.
    public func drainReport(_ wanted: DrainRequest) async throws -> DrainReport {
        try await ask(.GET, "/drain?" + Self.query([("server", wanted.server), ("service", wanted.service)]))
    }

    /// Returns the metrics in Prometheus's text format.
    public func metrics() async throws -> [UInt8] { try await request(.GET, "/metrics") }

    private func ask<Answer: Decodable>(_ method: HTTPMethod, _ uri: String, body: Data = Data()) async throws -> Answer
    {
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(try await request(method, uri, body: Array(body))))
        } catch let refusal as Refusal { throw refusal.directorError ?? refusal }
    }

    /// Returns a URI's query of the items that have a value. In values, every byte but ASCII letters and digits is
    /// percent-encoded.
    static func query(_ items: [(name: String, value: String?)]) -> String {
        items.compactMap { name, value in
            value.map { value in
                let escaped = value.utf8.map { byte -> String in
                    let isPlain = (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                    return isPlain ? String(UnicodeScalar(byte)) : "%" + String(256 + Int(byte), radix: 16).dropFirst()
                }
                return "\(name)=\(escaped.joined())"
            }
        }.joined(separator: "&")
    }

    public func stop(keep: Bool) async throws {
        _ = try await request(.POST, "/stop?keep=\(keep)")
    }

    private func request(_ method: HTTPMethod, _ uri: String, body: [UInt8] = []) async throws -> [UInt8] {
        let connection = ControlConnection(socket: socket, first: timeout, later: timeout)
        return try await connection.request(method, uri, body: body) { head, body in
            let bytes = try await collect(body)
            if head.status != .ok { throw Refusal(status: head.status.code, body: bytes) }
            return bytes
        }
    }

    private func collect(_ body: ControlConnection.Body) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        for try await chunk in body {
            bytes += chunk.readableBytesView
            if bytes.count > limit { throw TooLarge(limit: limit) }
        }
        return bytes
    }

    // MARK: Events

    /// Calls `body` for each line of the event stream, which begins with the `last` newest kept events, oldest first.
    /// Returns after these events, or with `follows` when the daemon ends the stream. The next line is read after
    /// `body` returns. Throws `Silence` where the daemon does not answer.
    public func events(
        follows: Bool, last: Int, service: String?, server: String?, _ body: (EventLine) throws -> Void
    ) async throws {
        let query = Self.query([
            ("follow", "\(follows)"), ("last", "\(last)"), ("service", service), ("server", server),
        ])
        // The daemon writes at least an empty line in each period of `ControlServer.silence`.
        let connection = ControlConnection(socket: socket, first: timeout, later: ControlServer.silence * 3)
        try await connection.request(.GET, "/events?" + query) { head, chunks in
            guard head.status == .ok else {
                let refusal = Refusal(status: head.status.code, body: try await collect(chunks))
                throw refusal.directorError ?? refusal
            }
            var rest = ByteBuffer()
            for try await var chunk in chunks {
                rest.writeBuffer(&chunk)
                while let end = rest.readableBytesView.firstIndex(of: 10),
                    let line = rest.readBytes(length: end - rest.readerIndex)
                {
                    rest.moveReaderIndex(forwardBy: 1)
                    if !line.isEmpty { try body(try Self.line(line)) }
                }
                rest.discardReadBytes()
                if rest.readableBytes > limit { throw TooLarge(limit: limit) }
            }
        }
    }

    private struct Missed: Decodable { var missed: UInt64 }

    private static func line(_ bytes: [UInt8]) throws -> EventLine {
        if let gap = try? JSONDecoder().decode(Missed.self, from: Data(bytes)) { return .missed(gap.missed) }
        return .event(
            try JSONDecoder().decode(DirectorEvent.self, from: Data(bytes)),
            json: String(decoding: bytes, as: UTF8.self))
    }
}
