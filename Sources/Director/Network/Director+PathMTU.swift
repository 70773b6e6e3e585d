internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import Logging
internal import NIOPosix
internal import ServiceConfiguration

/// Path MTUs between the director and its real servers. Anybody can forge what routers say: their messages are a reason to
/// look, and the director's own probes decide.
extension Director {
    /// Runs probes on an event loop of its own, which strangers may keep busy.
    private static let pathProber = Checker(group: MultiThreadedEventLoopGroup(numberOfThreads: 1))
    /// A size is given up after three silences of a fortieth of it.
    private static let probeTimeout: Duration = .seconds(10)

    /// Forgets path MTUs of real servers that are gone, and those that have become old.
    func forgetPathMTUs() {
        if let servers = running?.dataPlane.serverAddresses { pathMTUs.forget(except: servers, at: clock.now) }
    }

    func followPathMTUs() async {
        let errors: AsyncStream<FragmentationNeeded>
        do { errors = try network.routerErrors() } catch {
            logger.error("\(error): path MTUs inside the tunnels are not learnt")
            return
        }
        await withDiscardingTaskGroup { group in
            for await error in errors {
                guard let size = beginProbe(for: error) else { continue }
                group.addTask { await self.probe(size: size, for: error) }
            }
        }
    }

    /// Returns the size of packet to probe with, nil where the message is not looked into. It has to be about a packet that
    /// the director can have sent by a path through routers, and, as far as it is quoted, about a recorded flow.
    private func beginProbe(for error: FragmentationNeeded) -> UInt32? {
        let server = error.destination
        guard let current = running, let path = current.dataPlane.route(to: server), !path.isLocal,
            error.source == path.source || configuration.outerSources?.contains(error.source) == true,
            error.innerDestination.map(configuration.vips.contains) ?? true,
            pathMTUs.mayProbe(server, told: error.mtu, present: path.mtu, at: clock.now)
        else { return nil }
        do {
            guard try isConfirmed(error, by: current.dataPlane) else { return nil }
            pathMTUs.beginProbe(server)
            if try paths.isRouted(server) { return path.mtu }
        } catch {
            logger.debug("look into the path MTU to \(server): \(error)")
        }
        _ = pathMTUs.endProbe(server, present: path.mtu, at: clock.now)
        return nil
    }

    private func isConfirmed(_ error: FragmentationNeeded, by dataPlane: any DataPlane) throws -> Bool {
        switch error.content {
        case .unknown: true
        case .other: false
        case .flow(let ends):
            try dataPlane.mayHaveSent(ends, to: error.destination)
        }
    }

    /// Pings the real server's own address, and believes the result. What routers quote of a ping tells it from a forged one.
    private func probe(size: UInt32, for error: FragmentationNeeded) async {
        let server = error.destination
        let verdict: CheckVerdict
        do {
            let check = try MTUCheck(size: Int(size))
            verdict = await Self.pathProber.ask(
                Checker.Question(id: 0, check: .mtu(check), way: .direct(server), timeout: Self.probeTimeout)
            ).verdict
        } catch {
            verdict = .failed(CheckVerdict.Failure(stage: .start, reason: "\(error)", isOwn: true))
        }
        let present = running?.dataPlane.route(to: server)?.mtu ?? size
        let passing = verdict.pathMTU.map { UInt32($0) }
        if let mtu = pathMTUs.endProbe(server, passing: passing, present: present, at: clock.now) {
            logger.notice(
                "the path MTU to \(server) is \(mtu): larger packets do not pass, as \(error.router) says")
            refreshPaths()
            return
        }
        if case .failed(let failure) = verdict, failure.isOwn { return }
        guard pathMTUs.mayComplain(of: server, at: clock.now) else { return }
        let claim = "\(error.router) says that packets to \(server) are too big (MTU \(error.mtu))"
        if passing == nil {
            logger.warning("\(claim), and no ping shows whether they are: the path MTU stays \(present)")
        } else {
            logger.warning("\(claim), but a ping of \(size) bytes passes: the path MTU stays \(present)")
        }
    }
}
