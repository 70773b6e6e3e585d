internal import Addresses
package import LoadBalancing

/// A real server as it was written: what it does not say of itself, its service may say of all.
public struct WrittenServer: Hashable, Sendable, CustomStringConvertible {
    var address: IPAddress
    var weight: UInt16?
    /// Nil: it has no thresholds of its own. A nil within: it is to have none.
    var thresholds: ConnectionThresholds??

    init(address: IPAddress, weight: UInt16? = nil, thresholds: ConnectionThresholds?? = nil) {
        self.address = address
        self.weight = weight
        self.thresholds = thresholds
    }

    /// All of a real server.
    package init(_ server: RealServer) {
        self.init(
            address: server.address, weight: server.weight, thresholds: server.thresholds.map(Optional.some))
    }

    /// `A.B.C.D`, `A.B.C.D=WEIGHT` or `A.B.C.D=WEIGHT:UPPER[/LOWER]`.
    init(parsing text: some StringProtocol) throws(InvalidValue) {
        let accepted = AddressText.servers
        guard let sign = text.firstIndex(of: "=") else {
            self.init(address: try AddressText.address(text, accepted: accepted))
            return
        }
        let address = try AddressText.address(text[..<sign], accepted: accepted)
        let parts = text[text.index(after: sign)...].split(
            separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let weight = try AddressText.number(
            parts[0], in: 0...65535, problem: "weight \(AddressText.quoted(parts[0])) is no weight")
        self.init(address: address, weight: UInt16(weight))
        guard parts.count > 1 else { return }
        let bounds = parts[1].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let upper = try Options.upperThreshold.syntax.parse(String(bounds[0]))
        let lower = bounds.count > 1 ? try Options.lowerThreshold.syntax.parse(String(bounds[1])) : nil
        thresholds = .some(try AddressText.thresholds(upper: upper, lower: lower))
    }

    /// The real server, with the given values in place of those that it does not say.
    func server(weight: UInt16? = nil, thresholds: ConnectionThresholds? = nil) -> RealServer {
        RealServer(
            address: address, weight: self.weight ?? weight ?? 1, thresholds: self.thresholds ?? thresholds)
    }

    public var description: String {
        var text = "\(address)" + (weight.map { "=\($0)" } ?? "")
        if case .some(.some(let thresholds)) = thresholds {
            text += ":\(thresholds.upper)" + (thresholds.lower.map { "/\($0)" } ?? "")
        }
        return text
    }
}
