/// What is found on the way through a keepalived.conf. One is shared by all of its statements.
final class KeepalivedNotes {
    /// Errors where keepalived itself ends, or where nobody can say what it reads.
    let errors = ImportErrors()
    private var remarks: [PlacedRemark] = []

    func add(_ kind: ImportRemark.Kind, _ place: SourcePlace, _ text: String) {
        remarks.append(PlacedRemark(kind, place, text))
    }

    /// Returns the remarks since the last call.
    func take() -> [PlacedRemark] {
        defer { remarks = [] }
        return remarks
    }
}
