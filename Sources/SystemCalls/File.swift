package import Glibc

/// Operations on files by system calls. Reads and writes are repeated after EINTR.
package enum File {
    package static func read(_ path: String) throws(SystemError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError("read \(path)") }
        defer { close(descriptor) }
        var contents: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count > 0 { contents.append(contentsOf: buffer.prefix(count)) }
            if count == 0 { return contents }
            if count < 0 && errno != EINTR { throw SystemError("read \(path)") }
        }
    }

    /// Writes a file, but not through a symbolic link. `flags` are added to O_WRONLY, so the file has to exist unless
    /// they have O_CREAT. The umask does not affect `mode`. With `mode` nil, an existing file keeps its mode, and a new
    /// file gets 0600. With `synchronized`, the contents are on the disk before this returns.
    package static func write(
        _ contents: [UInt8], to path: String, flags: Int32 = 0, mode: mode_t? = nil, synchronized: Bool = false
    ) throws(SystemError) {
        let descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | flags, 0o600)
        guard descriptor >= 0 else { throw SystemError("write \(path)") }
        defer { close(descriptor) }
        if let mode, fchmod(descriptor, mode) != 0 { throw SystemError("write \(path)") }
        var rest = contents[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 { rest = rest.dropFirst(count) }
            if count < 0 && errno != EINTR { throw SystemError("write \(path)") }
        }
        if synchronized && fsync(descriptor) != 0 { throw SystemError("write \(path)") }
    }

    /// Replaces a file by renaming a temporary file, so that readers see either the old contents or the new contents.
    /// With `synchronized`, this also holds after a crash of the machine.
    package static func replace(
        _ path: String, with contents: [UInt8], mode: mode_t = 0o600, synchronized: Bool = true
    ) throws(SystemError) {
        let temporary = "\(path).new"
        do throws(SystemError) {
            try write(contents, to: temporary, flags: O_CREAT | O_TRUNC, mode: mode, synchronized: synchronized)
            guard rename(temporary, path) == 0 else { throw SystemError("write \(path)") }
        } catch {
            unlink(temporary)
            throw error
        }
        if synchronized { synchronizeDirectory(of: path) }
    }

    /// Removes a file. A missing file is not an error. With `synchronized`, the removal survives a crash of the
    /// machine.
    package static func remove(_ path: String, synchronized: Bool = true) throws(SystemError) {
        guard unlink(path) == 0 else {
            if errno == ENOENT { return }
            throw SystemError("remove \(path)")
        }
        if synchronized { synchronizeDirectory(of: path) }
    }

    private static func synchronizeDirectory(of path: String) {
        let directory = open(parent(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { return }
        fsync(directory)
        close(directory)
    }

    package static func parent(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    }

    /// Creates a directory with mode 0700, and the directories above it. Existing directories keep their modes.
    package static func makeDirectory(_ path: String) throws(SystemError) {
        if path.isEmpty || mkdir(path, 0o700) == 0 || errno == EEXIST { return }
        guard errno == ENOENT else { throw SystemError("create directory \(path)") }
        try makeDirectory(parent(of: path))
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw SystemError("create directory \(path)") }
    }

    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// Returns the names in a directory, or nil if it cannot be read.
    package static func list(_ path: String) -> [String]? {
        guard let directory = opendir(path) else { return nil }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    /// Returns the target of a symbolic link, or nil if it cannot be read.
    package static func link(_ path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(path, &buffer, buffer.count)
        return count < 0 ? nil : String(decoding: buffer.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
