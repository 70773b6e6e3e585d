import Glibc
import HostState
import Netlink
import Testing

@testable import RealServerSetup

/// What an earlier run wrote stands there again after a run that failed.
struct FormerFileTests {
    private let directory = "/tmp/nl-former-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"

    private func file(_ name: String, _ text: String, isExecutable: Bool = false) -> BootFile {
        BootFile(
            path: "\(directory)/\(name)", contents: .text(BootFile.header + text, isExecutable: isExecutable))
    }

    private func link(to target: String) -> BootFile {
        BootFile(path: "\(directory)/link", contents: .link(to: "/none/\(BootSetup.name)\(target)"))
    }

    @Test func filesOfAnEarlierRunAreRestored() throws {
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

        let executor = Executor(socket: try RouteSocket(), journal: journal)
        let changed = [
            file("list", "10.0.0.101\n"), file("hook", "exit 1\n", isExecutable: true), file("new", "y\n"),
            link(to: "-b.service"), file("list", "10.0.0.102\n"),
        ]
        for file in changed { try executor.make(Step(action: .write(file), description: "")) }
        try executor.make(Step(action: .removeFile("\(directory)/stale"), description: ""))
        for file in changed.dropFirst() { #expect(file.isWritten, "\(file.path)") }
        #expect(!exists("\(directory)/stale"))

        // As `apply` does where a step fails.
        #expect(journal.undoAll(except: before) { _, _ in })
        executor.restoreFiles()
        for file in earlier { #expect(file.isWritten, "\(file.path)") }
        #expect(access("\(directory)/hook", X_OK) == 0)
        #expect(!exists("\(directory)/new"))
        #expect(Set(journal.changes) == Set(before))
    }
}
