internal import Glibc

/// Reads the beginning of a regular file.
enum FileReader {
    static let longest = 64

    static func read(_ path: String) throws(ScriptFailure) -> [UInt8] {
        // A named pipe must not stall it.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure("stat", path) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw ScriptFailure(reason: "open \(path): no regular file") }
        var bytes = [UInt8](repeating: 0, count: longest)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw failure("read", path) }
        return Array(bytes.prefix(count))
    }

    private static func failure(_ operation: String, _ path: String) -> ScriptFailure {
        ScriptFailure(reason: "\(operation) \(path): \(String(cString: strerror(errno)))")
    }
}
