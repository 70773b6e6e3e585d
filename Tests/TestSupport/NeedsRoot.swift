internal import Glibc
internal import Synchronization
public import Testing

extension Trait where Self == ConditionTrait {
    /// The condition of tests that need root, such as those of packet programs. Without root they are left out,
    /// and the last lines of the run name their number. In CI they fail instead.
    public static var needsRoot: Self {
        .enabled("needs root") {
            let isMet = geteuid() == 0 || getenv("CI") != nil
            if !isMet { LeftOut.count() }
            return isMet
        }
    }
}

/// The tests that a run without root leaves out.
private enum LeftOut {
    private static let number = Mutex(0)

    static func count() {
        let isFirst = number.withLock { number in
            number += 1
            return number == 1
        }
        guard isFirst else { return }
        atexit {
            let number = LeftOut.number.withLock { $0 }
            print(
                """

                LEFT OUT: \(number) tests that need root, most of them because they load packet programs. With root:
                  sudo swift test --skip-build --disable-xctest
                All tests, also those in network namespaces and of other kernels: sudo Tests/run.sh
                """)
        }
    }
}
