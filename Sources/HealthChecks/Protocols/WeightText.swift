/// A weight as a script or a file writes it.
enum WeightText {
    static let accepted = 0...65_535

    /// The whole text but for the white space around it.
    static func parse(_ text: some StringProtocol) -> Int? {
        let digits = text.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed()
        guard (1...5).contains(digits.count), digits.allSatisfy({ ("0"..."9").contains($0) }),
            let weight = Int(String(digits)), accepted.contains(weight)
        else { return nil }
        return weight
    }
}
