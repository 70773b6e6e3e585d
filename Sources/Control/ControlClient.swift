public import Director
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// Talks to the daemon over its Unix socket.
public struct ControlClient: Sendable {
    /// The daemon is there and said no.
    public struct Refusal: Error, CustomStringConvertible {
        public let status: UInt
        let body: [UInt8]
        /// What the director says of it, where it does.
        public var directorError: DirectorError? { try? JSONDecoder().decode(DirectorError.self, from: Data(body)) }
        public var description: String { status == 503 ? "the director is still starting" : "HTTP status \(status)" }
    }

    /// The daemon said nothing in time.
    public struct Silence: Error {
        public let seconds: Int64
        /// What was asked is void with the connection: see `ControlContext`.
        public let isVoid: Bool
    }

    let socket: String
    let timeout: TimeAmount

    public init(socket: String, timeoutSeconds: Int64 = 5) {
        self.socket = socket
        self.timeout = .seconds(timeoutSeconds)
    }

    public func status() async throws -> DirectorStatus {
        try JSONDecoder().decode(DirectorStatus.self, from: Data(try await request(.GET, "/status")))
    }

    /// What changed.
    public func reload() async throws -> String {
        let answer: [UInt8]
        do { answer = try await request(.POST, "/reload") } catch let refusal as Refusal where refusal.status == 409 {
            throw try JSONDecoder().decode(ReloadRefusal.self, from: Data(refusal.body))
        }
        return try JSONDecoder().decode([String: String].self, from: Data(answer))["message"] ?? ""
    }

    /// Throws a `DirectorError` where the director refuses.
    public func drain(_ wanted: DrainRequest) async throws -> DrainReport {
        try await ask(.POST, "/drain", body: try JSONEncoder().encode(wanted))
    }

    /// As `drain`.
    public func undrain(_ wanted: DrainRequest) async throws -> DrainReport {
        try await ask(.POST, "/undrain", body: try JSONEncoder().encode(wanted))
    }

    /// As `drain`.
    public func drainReport(_ wanted: DrainRequest) async throws -> DrainReport {
        try await ask(.GET, "/drain?" + Self.query([("server", wanted.server), ("service", wanted.service)]))
    }

    /// Prometheus's text format.
    public func metrics() async throws -> [UInt8] { try await request(.GET, "/metrics") }

    private func ask<Answer: Decodable>(_ method: HTTPMethod, _ uri: String, body: Data = Data()) async throws -> Answer
    {
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(try await request(method, uri, body: Array(body))))
        } catch let refusal as Refusal { throw refusal.directorError ?? refusal }
    }

    /// Of what is there; every byte that is not a letter or a digit is escaped.
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
        let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        let answer = eventLoop.makePromise(of: [UInt8].self)
        let channel: any Channel
        do {
            channel = try await ClientBootstrap(group: eventLoop).connectTimeout(timeout)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHTTPClientHandlers()
                        try channel.pipeline.syncOperations.addHandler(AnswerHandler(answer))
                    }
                }
                .connect(unixDomainSocketPath: socket).get()
        } catch {
            answer.fail(error)
            throw error
        }
        let silence = Silence(seconds: timeout.nanoseconds / 1_000_000_000, isVoid: method == .POST)
        let deadline = eventLoop.scheduleTask(in: timeout) { answer.fail(silence) }
        defer { deadline.cancel() }
        let head = HTTPRequestHead(
            version: .http1_1, method: method, uri: uri,
            headers: ["Host": "ipvsd", "Connection": "close", "Content-Length": "\(body.count)"])
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        if !body.isEmpty {
            channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil)
        }
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        let result: [UInt8]
        do { result = try await answer.futureResult.get() } catch {
            try? await channel.close().get()
            throw error
        }
        try? await channel.close().get()
        return result
    }
}

/// Collects one response's body.
private final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let answer: EventLoopPromise<[UInt8]>
    private var status: HTTPResponseStatus = .ok
    private var body: [UInt8] = []

    init(_ answer: EventLoopPromise<[UInt8]>) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): status = head.status
        case .body(let part): body += part.readableBytesView
        case .end:
            if status == .ok {
                answer.succeed(body)
            } else {
                answer.fail(ControlClient.Refusal(status: status.code, body: body))
            }
        }
    }

    func channelInactive(context: ChannelHandlerContext) { answer.fail(ChannelError.eof) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { answer.fail(error) }
}
