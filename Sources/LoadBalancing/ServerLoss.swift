/// What becomes of the TCP connections of a real server that is down. (Datagrams are scheduled anew in any case.)
public enum ServerLoss: String, CaseIterable, Sendable, Codable {
    /// They stay, and go on if the server comes back before they expire.
    case keep
    /// The client's next packet is answered by a RST from the VIP.
    case reset
    /// The client's next packet goes to another server, which resets the connection unless it knows of it.
    case rehash
}
