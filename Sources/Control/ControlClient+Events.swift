public import Director
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// What a reader of the event stream gets.
public enum EventLine: Sendable {
    /// With the line as it came.
    case event(DirectorEvent, json: String)
    /// So many are no longer kept.
    case missed(UInt64)
}

extension ControlClient {
    /// Calls `body` for each event, oldest first, and does not read on before it returns. `last`: at most so many of
    /// those that are kept. Without `follows` it returns behind the newest one, else when the daemon ends.
    public func events(
        follows: Bool, last: Int, service: String?, server: String?, _ body: (EventLine) throws -> Void
    ) async throws {
        let query = Self.query([
            ("follow", "\(follows)"), ("last", "\(last)"), ("service", service), ("server", server),
        ])
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).connectTimeout(timeout)
            .connect(unixDomainSocketPath: socket) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    return try NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>(
                        wrappingChannelSynchronously: channel)
                }
            }
        try await channel.executeThenClose { inbound, outbound in
            let head = HTTPRequestHead(
                version: .http1_1, method: .GET, uri: "/events?" + query,
                headers: ["Host": "ipvsd", "Connection": "close"])
            // At once: the daemon may have answered the first and closed before the second is written.
            try await outbound.write(contentsOf: [.head(head), .end(nil)])
            try await Self.read(inbound, body)
        }
    }

    private static func read(
        _ parts: NIOAsyncChannelInboundStream<HTTPClientResponsePart>, _ body: (EventLine) throws -> Void
    ) async throws {
        var status = HTTPResponseStatus.ok
        var rest: [UInt8] = []
        for try await part in parts {
            switch part {
            case .head(let head): status = head.status
            case .body(let bytes):
                rest += bytes.readableBytesView
                guard status == .ok else { continue }
                while let end = rest.firstIndex(of: 10) {
                    if end > 0 { try body(try line(Array(rest[..<end]))) }
                    rest.removeFirst(end + 1)
                }
            case .end:
                guard status == .ok else {
                    let refusal = Refusal(status: status.code, body: rest)
                    throw refusal.directorError ?? refusal
                }
                return
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
