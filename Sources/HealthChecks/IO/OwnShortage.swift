internal import Glibc

/// What keeps this machine from asking, and says nothing about whom it would ask.
enum OwnShortage {
    /// Descriptors, ports (connect(2)), room for packets, memory: another try may find some.
    static let passing: Set<Int32> = [EMFILE, ENFILE, EADDRNOTAVAIL, EAGAIN, ENOBUFS, ENOMEM]
    /// And ipvsd0 itself, which does not come back under the same number.
    static let codes = passing.union([ENODEV])

    static func reason(_ code: Int32) -> String { reason(String(cString: strerror(code))) }

    static func reason(_ problem: String) -> String { "not asked, as the director itself could not: \(problem)" }
}
