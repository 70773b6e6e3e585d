internal import Addresses
internal import Glibc
internal import NIOCore
internal import NIOPosix

/// Checks of the largest packet that passes.
extension ProtocolChecks {
    /// ICMP_FILTER of SOL_RAW: bit n keeps type n away.
    private static let icmpFilter = ChannelOptions.socket(SocketOptionLevel(255), SocketOptionName(1))
    private static func letting(type: UInt32) -> SocketOptionValue { SocketOptionValue(bitPattern: ~(1 << type)) }

    func probe(_ check: MTUCheck, by way: Check.Way, deadline: Duration, progress: CheckProgress) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        guard let destination = way.destination.v4 else {
            return progress.fail("\(WrongFamily(way.destination, accepted: .v4))")
        }
        let echo = EchoRequest(identifier: .random(in: .min ... .max), destination: destination)
        // A socket that is bound to the tunnel's device hears no router.
        var listener = NIORawSocketBootstrap(group: progress.eventLoop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(ErrorListener())
            }
        }
        var bootstrap = NIORawSocketBootstrap(group: progress.eventLoop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                let probe = try MTUProbe(progress: bound.value, full: check.size, echo: echo, deadline: deadline)
                try channel.pipeline.syncOperations.addHandler(probe)
            }
        }
        for (option, value) in way.socketOptions { bootstrap = bootstrap.channelOption(option, value: value) }
        // IP_MTU_DISCOVER = IP_PMTUDISC_PROBE: DF, and what the kernel remembers of the path does not matter.
        bootstrap = bootstrap.channelOption(
            ChannelOptions.socket(SocketOptionLevel(IPPROTO_IP), SocketOptionName(IP_MTU_DISCOVER)), value: 3)
        // Each socket receives its own kind of message alone, however many others come.
        bootstrap = bootstrap.channelOption(Self.icmpFilter, value: Self.letting(type: 0))
        listener = listener.channelOption(Self.icmpFilter, value: Self.letting(type: 3))
        let sender = bootstrap.bind(host: (way.source ?? .unspecified(.v4)).description, ipProtocol: .icmp)
        let ears = listener.bind(host: "0.0.0.0", ipProtocol: .icmp)
        for opened in [sender, ears] { opened.whenFailure { bound.value.fail(by: $0) } }
        sender.and(ears).whenComplete { result in
            let progress = bound.value
            let channels = [sender, ears]
            guard case .success(let (sender, ears)) = result, !progress.isOver else {
                for opened in channels { opened.whenSuccess { $0.close(promise: nil) } }
                return
            }
            progress.hangUp = {
                sender.close(promise: nil)
                ears.close(promise: nil)
            }
            do {
                let context = try sender.pipeline.syncOperations.context(handlerType: MTUProbe.self)
                let probe = try sender.pipeline.syncOperations.handler(type: MTUProbe.self)
                let listener = try ears.pipeline.syncOperations.handler(type: ErrorListener.self)
                listener.heard = { probe.hear($0, context: context) }
                probe.begin(context: context)
            } catch {
                progress.fail(by: error)
            }
        }
    }
}
