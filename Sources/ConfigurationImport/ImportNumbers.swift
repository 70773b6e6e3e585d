internal import LoadBalancing
internal import ServiceConfiguration

/// Numbers as ipvsadm and keepalived take them, in ranges that are theirs.
enum ImportNumbers {
    static func number(
        _ text: some StringProtocol, in range: ClosedRange<Int>, called name: String
    ) throws(InvalidValue) -> Int {
        guard (1...10).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
            let number = Int(text), range.contains(number)
        else {
            throw InvalidValue(
                "\(AddressText.quoted(text)) is no \(name)", accepted: "\(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// 31 days (LVS_MAX_TIMEOUT) at most.
    static func seconds(_ text: some StringProtocol) throws(InvalidValue) -> Int {
        try number(text, in: 0...2_678_400, called: "number of seconds")
    }

    static func mark(_ text: some StringProtocol) throws(InvalidValue) -> UInt32 {
        UInt32(try number(text, in: 1...4_294_967_295, called: "firewall mark"))
    }

    static func weight(_ text: some StringProtocol) throws(InvalidValue) -> Int {
        try number(text, in: 0...2_147_483_647, called: "weight")
    }

    static func threshold(_ text: some StringProtocol) throws(InvalidValue) -> Int {
        try number(text, in: 0...4_294_967_295, called: "threshold")
    }
}
