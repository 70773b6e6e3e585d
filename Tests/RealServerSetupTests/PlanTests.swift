import Glibc
import HostState
import Testing

/// Steps that create files in a directory of each test's own.
struct PlanTests {
    private struct Failure: Error {}

    private let directory = "/tmp/nl-plan-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"

    private func path(_ name: String) -> String { "\(directory)/\(name)" }

    private func withJournal(_ body: (ChangeJournal) throws -> Void) throws {
        let journal = try ChangeJournal(path: path("journal"))
        defer {
            _ = journal.undoAll { _, _ in }
            rmdir(directory)
        }
        try body(journal)
    }

    private func makes(_ name: String) -> Step {
        let path = path(name)
        return Step("write \(name)", text: "one\n\ntwo\n") { _, _ in
            [.make([.file(path: path)]) { fclose(fopen(path, "w")) }]
        }
    }

    @Test("a plan's steps are journalled, reported in their order and undone together")
    func applies() throws {
        try withJournal { journal in
            var reported: [String] = []
            try Plan([makes("a"), makes("b")]).apply(journal: journal) { reported.append($0.description) }
            #expect(reported == ["write a", "write b"])
            #expect(exists(path("a")))
            #expect(exists(path("b")))
            #expect(journal.changes == [.file(path: path("a")), .file(path: path("b"))])
            #expect(journal.undoAll { _, _ in })
            #expect(!exists(path("a")))
            #expect(!exists(path("b")))
        }
    }

    @Test("a plan that fails undoes its own steps alone")
    func fails() throws {
        try withJournal { journal in
            try Plan([makes("earlier")]).apply(journal: journal) { _ in }
            var reported = 0
            #expect(throws: Failure.self) {
                try Plan([makes("earlier"), makes("new"), Step("fail") { _, _ in throw Failure() }, makes("never")])
                    .apply(journal: journal) { _ in reported += 1 }
            }
            #expect(reported == 2)
            #expect(exists(path("earlier")))
            #expect(!exists(path("new")))
            #expect(!exists(path("never")))
            #expect(journal.changes == [.file(path: path("earlier"))])
        }
    }

    @Test("a change that somebody else has made meanwhile is not journalled, and the plan goes on")
    func unneeded() throws {
        try withJournal { journal in
            let unneeded = Step("create x") { _, _ in [.make([.file(path: path("x"))]) { throw Step.Unneeded() }] }
            try Plan([unneeded, makes("a")]).apply(journal: journal) { _ in }
            #expect(journal.changes == [.file(path: path("a"))])
        }
    }

    @Test("a step undoes an earlier change, also where the journal does not name it")
    func undoing() throws {
        try withJournal { journal in
            try Plan([makes("known")]).apply(journal: journal) { _ in }
            fclose(fopen(path("unknown"), "w"))
            let removal = Step("remove both") { _, _ in
                ["known", "unknown"].map { .undo(.file(path: path($0))) }
            }
            try Plan([removal]).apply(journal: journal) { _ in }
            #expect(!exists(path("known")))
            #expect(!exists(path("unknown")))
            #expect(journal.changes.isEmpty)
        }
    }

    @Test("a dry run prints each step and what it writes")
    func preview() {
        let plan = Plan([makes("a"), .setUp("tunl0")])
        #expect(plan.preview == ["would write a", "    one", "    two", "would set tunl0 up"])
        #expect(!plan.isEmpty)
        #expect(Plan([]).isEmpty)
        #expect(Plan([]).preview.isEmpty)
    }
}
