internal import Glibc

/// What keeps this machine from asking, and says nothing about whom it would ask.
enum OwnShortage {
    /// Descriptors, ports (connect(2)), room for packets, memory; ipvsd0 itself.
    static let codes: Set<Int32> = [EMFILE, ENFILE, EADDRNOTAVAIL, EAGAIN, ENOBUFS, ENOMEM, ENODEV]

    static func reason(_ code: Int32) -> String {
        "not asked, as the director itself could not: \(String(cString: strerror(code)))"
    }
}
