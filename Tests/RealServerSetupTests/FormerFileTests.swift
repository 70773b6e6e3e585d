import Glibc
import HostState
import Testing

@testable import RealServerSetup

/// The files of an earlier run after a failed run.
struct FormerFileTests {
    private let directory = "/tmp/nl-former-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"

    private func file(_ name: String, _ text: String, isExecutable: Bool = false) -> BootFile {
        BootFile(
            path: "\(directory)/\(name)", contents: .text(BootFile.header + text, isExecutable: isExecutable))
    }

    private func link(to target: String) -> BootFile {
        BootFile(path: "\(directory)/link", contents: .link(to: "/none/\(BootSetup.name)\(target)"))
    }

    @Test("a failed run restores the files of an earlier run")
    func filesOfAnEarlierRunAreRestored() throws {
        let journal = try ChangeJournal(path: "\(directory)/journal")
        let earlier = [
            file("list", "10.0.0.100\n"), file("hook", "exit 0\n", isExecutable: true), file("stale", "x\n"),
            link(to: "-a.service"),
        ]
        for file in earlier { try journal.make(.file(path: file.path)) { try file.write() } }
        let before = journal.changes
        defer {
            _ = journal.undoAll { _, _ in }
            rmdir(directory)
        }

        let former = earlier.compactMap { BootFile.present(at: $0.path) }
        let changed = [
            file("list", "10.0.0.101\n"), file("hook", "exit 1\n", isExecutable: true), file("new", "y\n"),
            link(to: "-b.service"), file("list", "10.0.0.102\n"),
        ]
        struct Failure: Error {}
        let failing = Step("fail") { _, _ in
            for file in changed.dropFirst() { #expect(file.isWritten, "\(file.path)") }
            #expect(!exists("\(directory)/stale"))
            throw Failure()
        }
        #expect(throws: Failure.self) {
            try Plan(changed.map { .write($0) } + [.removeFile("\(directory)/stale"), failing])
                .apply(journal: journal) { _ in }
        }
        BootFile.restore(former, journal)
        for file in earlier { #expect(file.isWritten, "\(file.path)") }
        #expect(access("\(directory)/hook", X_OK) == 0)
        #expect(!exists("\(directory)/new"))
        #expect(Set(journal.changes) == Set(before))
    }
}
