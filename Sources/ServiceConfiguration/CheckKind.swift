extension CheckPolicy {
    /// What a check does; in flags and files "auto", "tcp", "tcp:8080", "ping" or "none".
    public enum Kind: Hashable, Sendable, CustomStringConvertible {
        /// A connect to a service's port; for an any-port service an echo and connects to the ports clients use.
        case auto
        /// A connect to this port, or to the service's own port when nil.
        case tcp(port: UInt16?)
        case ping
        case none

        static let accepted = "auto, tcp, tcp:PORT, ping or none"

        public init(parsing text: String) throws(InvalidValue) {
            switch text {
            case "auto": self = .auto
            case "tcp": self = .tcp(port: nil)
            case "ping": self = .ping
            case "none": self = .none
            case _ where text.hasPrefix("tcp:"):
                self = .tcp(port: try AddressText.port(text.dropFirst("tcp:".count)))
            default:
                throw InvalidValue("no such check", accepted: Self.accepted)
            }
        }

        public var description: String {
            switch self {
            case .auto: "auto"
            case .tcp(nil): "tcp"
            case .tcp(let port?): "tcp:\(port)"
            case .ping: "ping"
            case .none: "none"
            }
        }
    }
}
