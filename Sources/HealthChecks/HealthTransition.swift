public import Addresses

/// What changed in the health of a service. Every change goes through `Director.transition`.
public enum HealthTransition: Hashable, Sendable {
    /// It gets new connections again, or what slow start gives it of them.
    case serverUp(IPAddress)
    case serverDown(IPAddress, reason: String?)
    /// It serves, but counts for nothing: the check that nobody asked for has passed on no server.
    case serverUnproven(IPAddress, reason: String?)
    /// It passes its checks again, but has fallen too often, and has to stay good for so long.
    case serverHeld(IPAddress, for: Duration)
    /// Its checks ask for another weight.
    case weight(IPAddress, UInt16, before: UInt16)
    /// Usable weights have this sum, too little for the service.
    case quorumLost(weight: Int)
    case quorumRegained(weight: Int)
    /// The sorry server has the place of the real servers, or has it no more.
    case sorryServer(IPAddress, serves: Bool)
}
