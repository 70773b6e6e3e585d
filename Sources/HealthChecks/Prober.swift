internal import Glibc
public import LoadBalancing
public import NIOCore
internal import NIOPosix

/// Asks real servers, through the tunnel or directly. Every question ends within its time-out.
public struct Prober: Sendable {
    /// The way of a question: to the VIP through the tunnel, or to the server's own address.
    public enum Way: Sendable, CustomStringConvertible {
        /// `mark` names the real server to the program on `device`, an interface's index; `source` is the director's.
        case tunnel(vip: IPv4Address, mark: UInt32, device: Int32, source: IPv4Address)
        case direct(IPv4Address)

        public var isTunnel: Bool { if case .tunnel = self { true } else { false } }

        var destination: IPv4Address {
            switch self {
            case .tunnel(let vip, _, _, _): vip
            case .direct(let address): address
            }
        }

        public var description: String {
            switch self {
            case .tunnel(let vip, _, _, _): "to \(vip) through the tunnel"
            case .direct(let address): "to \(address)"
            }
        }
    }

    private let group: any EventLoopGroup
    private let checker: Checker

    public init(group: any EventLoopGroup) {
        self.group = group
        checker = Checker(group: group)
    }

    /// A check of any kind, by the way or ways that it names; where there is no tunnel, by the one way that there is.
    public func ask(
        _ check: Check, via: Check.Via, by way: Way, server: IPv4Address, timeout: Duration
    ) async -> CheckVerdict {
        switch via {
        case .both where way.isTunnel:
            return await checker.run(check, tunnel: way, server: server, deadline: timeout)
        case .direct where way.isTunnel: return await checker.run(check, by: .direct(server), deadline: timeout)
        default: return await checker.run(check, by: way, deadline: timeout)
        }
    }

    public func ask(_ probe: Probe, by way: Way, timeout: Duration) async -> ProbeResult {
        let limit = TimeAmount.nanoseconds(
            timeout.components.seconds * 1_000_000_000 + timeout.components.attoseconds / 1_000_000_000)
        do {
            switch probe {
            case .tcp(let port): try await connect(to: port, by: way, timeout: limit)
            case .ping: try await ping(by: way, timeout: limit)
            case .check(let check, _): return ProbeResult(await checker.run(check, by: way, deadline: timeout))
            }
            return .success
        } catch {
            let cause = (error as? NIOConnectionError)?.connectionErrors.first?.error ?? error
            return .failure(
                "\(probe) \(way): \(describe(cause, timeout: timeout))",
                hostAnswered: (cause as? IOError)?.errnoCode == ECONNREFUSED)
        }
    }

    private func address(_ address: IPv4Address, port: Int) throws -> SocketAddress {
        try SocketAddress(ipAddress: address.description, port: port)
    }

    private func connect(to port: UInt16, by way: Way, timeout: TimeAmount) async throws {
        var bootstrap = ClientBootstrap(group: group).connectTimeout(timeout)
        for (option, value) in way.socketOptions { bootstrap = bootstrap.channelOption(option, value: value) }
        if case .tunnel(_, _, _, let source) = way { bootstrap = bootstrap.bind(to: try address(source, port: 0)) }
        let channel = try await bootstrap.connect(to: try address(way.destination, port: Int(port))).get()
        // A reset instead of a FIN: neither side keeps anything of the check.
        if let provider = channel as? any SocketOptionProvider {
            try? await provider.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
        }
        try? await channel.close().get()
    }

    private func ping(by way: Way, timeout: TimeAmount) async throws {
        var bootstrap = NIORawSocketBootstrap(group: group)
        for (option, value) in way.socketOptions { bootstrap = bootstrap.channelOption(option, value: value) }
        let eventLoop = group.next()
        let answered = eventLoop.makePromise(of: Void.self)
        let echo = EchoRequest(identifier: .random(in: .min ... .max), destination: way.destination)
        let source =
            if case .tunnel(_, _, _, let source) = way { source.description } else { "0.0.0.0" }
        let channel: any Channel
        do {
            channel =
                try await bootstrap
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(EchoHandler(echo: echo, answered: answered))
                    }
                }
                .bind(host: source, ipProtocol: .icmp).get()
        } catch {
            answered.fail(error)
            throw error
        }
        let deadline = eventLoop.scheduleTask(in: timeout) { answered.fail(ChannelError.connectTimeout(timeout)) }
        defer { deadline.cancel() }
        do {
            let packet = AddressedEnvelope(
                remoteAddress: try address(way.destination, port: 0), data: channel.allocator.buffer(bytes: echo.bytes))
            try await channel.writeAndFlush(packet).get()
            try await answered.futureResult.get()
        } catch {
            answered.fail(error)
            try? await channel.close().get()
            throw error
        }
        try? await channel.close().get()
    }

    private func describe(_ error: any Error, timeout: Duration) -> String {
        switch error {
        case ChannelError.connectTimeout: "no answer within \(timeout)"
        case let error as IOError: String(cString: strerror(error.errnoCode))
        default: "\(error)"
        }
    }
}
