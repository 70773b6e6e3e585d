/// The correction of a mistyped word.
enum Suggestion {
    /// Returns the word of the list with the least distance from the typed one; nil where the distance is more than a
    /// third of the word's length, and more than 1.
    static func nearest(to typed: String, among words: [String]) -> String? {
        let near = words.map { ($0, distance(typed, $0)) }.min { $0.1 < $1.1 }
        guard let near, near.1 <= max(1, typed.count / 3) else { return nil }
        return near.0
    }

    /// Returns the optimal string alignment distance: the number of letters that are added, left out, replaced, or
    /// swapped with the next one.
    static func distance(_ one: String, _ other: String) -> Int {
        let (one, other) = (Array(one), Array(other))
        var rows = [Array(0...other.count)]
        for row in 0..<one.count {
            var next = [row + 1]
            for column in 0..<other.count {
                let replaced = rows[row][column] + (one[row] == other[column] ? 0 : 1)
                var least = min(replaced, rows[row][column + 1] + 1, next[column] + 1)
                if row > 0, column > 0, one[row] == other[column - 1], one[row - 1] == other[column] {
                    least = min(least, rows[row - 1][column - 1] + 1)
                }
                next.append(least)
            }
            rows.append(next)
        }
        return rows[one.count][other.count]
    }
}
