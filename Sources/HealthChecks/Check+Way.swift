public import Addresses

extension Check {
    /// The way of a question: to the VIP through the tunnel, or to the server's own address.
    public enum Way: Sendable, CustomStringConvertible {
        /// `mark` names the real server to the program on `device`, an interface's index; `source` is the director's.
        case tunnel(vip: IPAddress, mark: UInt32, device: Int32, source: IPAddress)
        case direct(IPAddress)

        public var isTunnel: Bool { if case .tunnel = self { true } else { false } }

        var destination: IPAddress {
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
}
