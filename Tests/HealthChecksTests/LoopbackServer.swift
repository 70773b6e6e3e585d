import Glibc
import NIOConcurrencyHelpers
import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOPosix
import NIOSSL

/// A script for a server on a connection. The server sends a greeting, then one reply for each read, and is silent
/// after the last reply.
struct Part: Sendable {
    var greeting: [UInt8] = []
    var replies: [[UInt8]] = []
    /// The bytes that are sent every 20 ms after the last reply.
    var drip: [UInt8] = []
    var closes = false

    static func replies(_ texts: String..., greeting: String = "", drip: String = "", closes: Bool = false) -> Part {
        Part(
            greeting: Array(greeting.utf8), replies: texts.map { Array($0.utf8) }, drip: Array(drip.utf8),
            closes: closes)
    }
}

/// A response on each stream of HTTP/2. Parts that are nil are left out, and without `ends` the server is silent after
/// them.
struct StreamPart: Sendable {
    var head: HPACKHeaders?
    var body: [UInt8]?
    var trailers: HPACKHeaders?
    var ends = false

    static let grpcHead: HPACKHeaders = [":status": "200", "content-type": "application/grpc"]

    static func grpc(status: UInt8) -> StreamPart {
        StreamPart(head: grpcHead, body: [0, 0, 0, 0, 2, 8, status], trailers: ["grpc-status": "0"], ends: true)
    }
}

/// Real servers on 127.0.0.1. Each runs while a closure runs, which gets the server's port.
enum LoopbackServer {
    static func stream<Result>(
        _ part: Part, tls: NIOSSLContext? = nil, group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        _ body: (UInt16) async throws -> Result
    ) async throws -> Result {
        try await serve(tls: tls, group: group, { try $0.addHandler(PartHandler(part: part)) }, body)
    }

    static func http2<Result>(
        _ part: StreamPart, tls: NIOSSLContext? = nil,
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton, _ body: (UInt16) async throws -> Result
    ) async throws -> Result {
        try await serve(
            tls: tls, group: group,
            { pipeline in
                _ = try pipeline.configureHTTP2Pipeline(
                    mode: .server, connectionConfiguration: .init(), streamConfiguration: .init()
                ) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(StreamPartHandler(part: part))
                    }
                }
            }, body)
    }

    private static func serve<Result>(
        tls: NIOSSLContext?, group: any EventLoopGroup,
        _ add: @escaping @Sendable (ChannelPipeline.SynchronousOperations) throws -> Void,
        _ body: (UInt16) async throws -> Result
    ) async throws -> Result {
        let server = try await ServerBootstrap(group: group)
            .serverChannelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls)) }
                    try add(pipeline)
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        do {
            let result = try await body(UInt16(server.localAddress?.port ?? 0))
            try await server.close().get()
            return result
        } catch {
            try? await server.close().get()
            throw error
        }
    }

    /// Runs a UDP server. It answers each datagram with the result of `reply`, or does not answer if that is nil.
    static func datagram<Result>(
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        reply: @escaping @Sendable ([UInt8]) -> [UInt8]?, _ body: (UInt16) async throws -> Result
    ) async throws -> Result {
        let server = try await DatagramBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(DatagramServerHandler(reply: reply))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        do {
            let result = try await body(UInt16(server.localAddress?.port ?? 0))
            try await server.close().get()
            return result
        } catch {
            try? await server.close().get()
            throw error
        }
    }
}

private final class PartHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let part: Part
    private var said = 0

    init(part: Part) { self.part = part }

    func channelActive(context: ChannelHandlerContext) {
        if !part.greeting.isEmpty { say(part.greeting, context) }
        if part.replies.isEmpty { finish(context) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard said < part.replies.count else { return }
        say(part.replies[said], context)
        said += 1
        if said == part.replies.count { finish(context) }
    }

    private func finish(_ context: ChannelHandlerContext) {
        if part.closes { context.close(promise: nil) }
        if !part.drip.isEmpty { drip(context) }
    }

    private func drip(_ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        say(part.drip, context)
        context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(20)) { self.drip(context) }
    }

    private func say(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

private final class StreamPartHandler: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias OutboundOut = HTTP2Frame.FramePayload

    private let part: StreamPart

    init(part: StreamPart) { self.part = part }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let isEnd =
            switch unwrapInboundIn(data) {
            case .headers(let headers): headers.endStream
            case .data(let data): data.endStream
            default: false
            }
        guard isEnd else { return }
        if let head = part.head { write(head, ends: part.ends && part.body == nil && part.trailers == nil, context) }
        if let body = part.body {
            let data = HTTP2Frame.FramePayload.Data(
                data: .byteBuffer(ByteBuffer(bytes: body)), endStream: part.ends && part.trailers == nil)
            context.write(wrapOutboundOut(.data(data)), promise: nil)
        }
        if let trailers = part.trailers { write(trailers, ends: true, context) }
        context.flush()
        if part.head == nil, part.ends { context.close(promise: nil) }
    }

    private func write(_ headers: HPACKHeaders, ends: Bool, _ context: ChannelHandlerContext) {
        context.write(wrapOutboundOut(.headers(.init(headers: headers, endStream: ends))), promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

private final class DatagramServerHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    private let reply: @Sendable ([UInt8]) -> [UInt8]?

    init(reply: @escaping @Sendable ([UInt8]) -> [UInt8]?) { self.reply = reply }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        guard let bytes = reply(Array(envelope.data.readableBytesView)) else { return }
        let answer = AddressedEnvelope(remoteAddress: envelope.remoteAddress, data: ByteBuffer(bytes: bytes))
        context.writeAndFlush(wrapOutboundOut(answer), promise: nil)
    }
}

/// Waits for a condition, for at most 20 s. Returns whether the condition holds.
func eventually(_ condition: () -> Bool) async -> Bool {
    for _ in 0..<2_000 {
        if condition() { return true }
        try? await Task.sleep(for: .milliseconds(10))
    }
    return condition()
}

/// The handler of a server that records the client's address and request, and answers 200.
final class Recorder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let seen: NIOLockedValueBox<[UInt8]>

    init(seen: NIOLockedValueBox<[UInt8]>) { self.seen = seen }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let peer = context.channel.remoteAddress?.ipAddress ?? ""
        let bytes = Array("\(peer) ".utf8) + Array(unwrapInboundIn(data).readableBytesView)
        seen.withLockedValue { $0 += bytes }
        let response = ByteBuffer(string: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        context.writeAndFlush(wrapOutboundOut(response), promise: nil)
    }
}
