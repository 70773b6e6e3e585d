internal import Glibc

/// What keeps this machine from asking, and says nothing about whom it would ask.
enum OwnShortage {
    /// Descriptors, ports (connect(2)), room for packets, memory.
    static let codes: Set<Int32> = [EMFILE, ENFILE, EADDRNOTAVAIL, EAGAIN, ENOBUFS, ENOMEM]

    static func reason(_ code: Int32) -> String {
        "not asked, as the director itself has no room for it: \(String(cString: strerror(code)))"
    }
}
