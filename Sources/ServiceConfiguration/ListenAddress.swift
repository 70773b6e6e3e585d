public import Addresses
import LoadBalancing

/// Where a socket listens.
public struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
    public var address: IPAddress
    public var port: UInt16

    /// `A.B.C.D:PORT`: an address of this machine, 127.0.0.1 or 0.0.0.0.
    public init(parsing text: String) throws(InvalidValue) {
        let accepted = "A.B.C.D:PORT, as 127.0.0.1:9104"
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { throw InvalidValue("no address and port", accepted: accepted) }
        guard let address = IPv4Address(String(parts[0])), address.value >> 24 < 224 else {
            throw InvalidValue("\(AddressText.quoted(parts[0])) is no address to listen on", accepted: accepted)
        }
        self.address = .v4(address)
        port = try AddressText.port(parts[1])
    }

    public var description: String { "\(address):\(port)" }
}
