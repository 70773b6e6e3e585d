internal import Addresses
package import LoadBalancing

/// A real server as written in a flag or a file. The service's values replace missing ones.
public struct WrittenServer: Hashable, Sendable, CustomStringConvertible {
    var address: IPAddress
    var weight: UInt16?
    /// The thresholds. An outer nil means that the text has none, and an inner nil means a real server without
    /// thresholds.
    var thresholds: ConnectionThresholds??

    init(address: IPAddress, weight: UInt16? = nil, thresholds: ConnectionThresholds?? = nil) {
        self.address = address
        self.weight = weight
        self.thresholds = thresholds
    }

    /// Makes the written form of a real server, with its weight and thresholds.
    package init(_ server: RealServer) {
        self.init(
            address: server.address, weight: server.weight, thresholds: server.thresholds.map(Optional.some))
    }

    /// Parses `A.B.C.D`, `A.B.C.D=WEIGHT` or `A.B.C.D=WEIGHT:UPPER[/LOWER]`.
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

    /// Returns the real server. `weight` and `thresholds` replace the values that the text lacks. Without any weight it
    /// is 1.
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
