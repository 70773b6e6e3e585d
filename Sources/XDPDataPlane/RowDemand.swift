internal import BPF
internal import Glibc

/// Rows of one table: those that nobody else gets now, and those that are wanted besides.
struct RowDemand: Hashable {
    /// What its rows are for, in the plural.
    let name: String
    /// In use, also by what was removed and still has connections, or at rest.
    var held: Int
    /// Of those held, the rows of what is wanted.
    var kept = 0
    var wanted = 0

    /// With row 0, which stands for "not set".
    var size: Int { held + wanted + 1 }

    /// Why the table cannot hold them; nil where it can. `most`: so many rows can be given out.
    func refusal(most: Int) -> BPFError? {
        guard held + wanted > most else { return nil }
        let left = held - kept
        return BPFError(
            "find room for \(wanted) more \(name): their table holds \(held) rows, \(left) of them of \(name) that are "
                + "removed, and \(most) are the most; a removed one's row is free half a minute after its last connection "
                + "has ended: name fewer new \(name) at once, or try again then", code: ENOSPC)
    }
}
