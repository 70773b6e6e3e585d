internal import DataPlane
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// Path MTUs that routers between the director and its real servers tell.
extension Director {
    func followPathMTUs() async {
        do {
            for await error in try RouterErrors.events() { try learn(error) }
        } catch {
            logger.error("\(error): path MTUs inside the tunnels are not learnt")
        }
    }

    /// Only of a packet that the director can have sent; whoever forges one has to know both its ends.
    func learn(_ error: FragmentationNeeded) throws {
        guard let dataPlane = running?.dataPlane, let path = dataPlane.path(to: error.destination), !path.isLocal,
            error.source == path.source || configuration.outerSources?.contains(error.source) == true,
            let mtu = pathMTUs.learn(error, present: path.mtu)
        else { return }
        logger.notice("the path MTU to \(error.destination) is \(mtu), says \(error.router)")
        try refreshPaths()
    }
}
