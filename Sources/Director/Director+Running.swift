internal import DataPlane

/// The work of a director that has started, which is done over and over.
extension Director {
    /// Checks, follows the network and sweeps, until cancelled.
    public func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.followInterfaces() }
            group.addTask { await self.followNetwork() }
            group.addTask { await self.keepHouse() }
            group.addTask { await self.keepSwept() }
            group.addTask { await self.followPathMTUs() }
            group.addTask { await self.watchTime() }
            group.addTask { await self.watchSYNs() }
            group.addTask { await self.runChecks() }
        }
        notifier.stop()
    }

    /// Does every second what nobody tells of, and tries again what has failed, until cancelled.
    private func keepHouse() async {
        while !Task.isCancelled {
            attempt("keep what the director put into this machine") { try repair() }
            attempt("stay attached to the interfaces") { try rejoinInterfaces() }
            attempt("apply the services") { try applyOwedServices() }
            // `followNetwork` follows the changes that the kernel tells; this finds the others.
            refreshPaths(atMost: 100)
            attempt("learn the ports that clients use") { try learnPorts() }
            forgetPaths()
            try? await clock.sleep(for: .seconds(1))
        }
    }
}
