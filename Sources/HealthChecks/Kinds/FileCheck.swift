/// Reads a weight, a number from 0 to 65535, from a regular file; white space around it does not matter. A file that is not
/// there, or says something else, is a failure; 0 quiesces. Stages: start (opening it), read.
public struct FileCheck: Hashable, Sendable {
    public var path: String

    public init(path: String) throws(InvalidCheck) {
        guard path.hasPrefix("/"), !path.utf8.contains(0) else {
            throw InvalidCheck("\"\(path)\" is no absolute path")
        }
        self.path = path
    }
}
