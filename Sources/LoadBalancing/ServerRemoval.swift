/// What becomes of the datagram flows of a real server that is no longer in use. It was removed, it stands by, or the wait
/// for its drain has ended. Its TCP connections go on in any case.
public enum ServerRemoval: String, CaseIterable, Sendable, Codable {
    /// The next datagram of a flow is scheduled anew.
    case move
    /// Datagrams stay, but the entries of their flows are no longer refreshed. Each flow ends within one UDP time-out,
    /// however long its client goes on.
    case finish
}
