import BPF
import Glibc
import HostState
import LoadBalancing
import Netlink
import Testing

struct ChangeJournalTests {
    /// A journal in a directory of its own.
    private func withJournal(_ body: (String) throws -> Void) throws {
        let directory = "/tmp/nl-journal-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        let path = directory + "/deep/journal"
        defer {
            unlink(path)
            rmdir(directory + "/deep")
            rmdir(directory)
        }
        try body(path)
    }

    private struct Failure: Error {}

    private static let everyKind: [Change] = [
        .sysctl(key: "net/ipv4/conf/eth0.10/rp_filter", original: "1"),
        .address(interface: "eth0", address: IPv4Address(0x0A00_0064), prefixLength: 32), .link(name: "a"),
        .tun(name: "tunl0"), .linkUp(name: "tunl0", wasUp: false),
        .route(Route(destination: IPv4Address(0), prefixLength: 0, advmss: 1440, otherMetrics: [2: [1, 0, 0, 0]])),
        .rule(Rule(priority: 1, source: nil, table: 2, protocolID: 3)),
        .neighbour(address: IPv4Address(1), interface: "eth0"), .offload(interface: "eth0", feature: "rx-lro"),
        .qdisc(interface: "eth0"),
        .filter(interface: "eth0", direction: .ingress, priority: 1, handle: 2), .mount(path: "/sys/fs/bpf"),
        .module(name: "ipip"), .directory(path: "/x"), .pin(path: "/y"), .attachment(path: "/z"),
    ]

    @Test func everyKindSurvivesTheFile() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            for change in Self.everyKind { try journal.make(change) {} }
            #expect(try ChangeJournal.read(path: path) == Self.everyKind)
            #expect(try ChangeJournal(path: path).changes == Self.everyKind)
        }
    }

    @Test func entryIsWrittenBeforeTheChange() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            let change = Change.directory(path: "/nowhere")
            var written: [Change] = []
            try journal.make(change) { written = try ChangeJournal.read(path: path) }
            #expect(written == [change])
        }
    }

    @Test func firstOriginalWins() throws {
        try withJournal { path in
            let first = Change.sysctl(key: "a", original: "0")
            try ChangeJournal(path: path).make(first) {}
            let journal = try ChangeJournal(path: path)
            try journal.make(.sysctl(key: "a", original: "1")) {}
            #expect(throws: Failure.self) { try journal.make(.sysctl(key: "a", original: "2")) { throw Failure() } }
            #expect(journal.changes == [first])
        }
    }

    @Test func failedChangeIsTakenBack() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            #expect(throws: Failure.self) { try journal.make(.link(name: "a")) { throw Failure() } }
            #expect(journal.changes.isEmpty)
            #expect(access(path, F_OK) != 0)
        }
    }

    @Test func undoesInReverseOrderAndAgain() throws {
        try withJournal { path in
            let root = path + ".d"
            let changes: [Change] = [.directory(path: root), .directory(path: root + "/a"), .pin(path: root + "/a/b")]
            let journal = try ChangeJournal(path: path)
            try journal.make(changes[0]) { mkdir(root, 0o700) }
            try journal.make(changes[1]) { mkdir(root + "/a", 0o700) }
            try journal.make(changes[2]) { symlink("x", root + "/a/b") }
            var undone: [Change] = []
            #expect(journal.undoAll { change, _ in undone.append(change) })
            #expect(undone == changes.reversed())
            #expect(access(root, F_OK) != 0 && access(path, F_OK) != 0)
            #expect(journal.undoAll { change, _ in Issue.record("\(change)") })
        }
    }

    @Test func damagedJournalIsAnErrorNotAnEmptyOne() throws {
        try withJournal { path in
            _ = try ChangeJournal(path: path)
            let descriptor = open(path, O_WRONLY | O_CREAT, 0o600)
            write(descriptor, "{", 1)
            close(descriptor)
            let error = #expect(throws: SystemError.self) { try ChangeJournal(path: path) }
            #expect(error?.code == EPROTO)
        }
    }

    @Test func instanceNames() {
        #expect(InstancePaths.isValid(name: "blue-2"))
        for name in ["", "..", "a/b", "a b", ".hidden"] { #expect(!InstancePaths.isValid(name: name)) }
        #expect(InstancePaths(name: "blue").journal == "/run/ipvsd/blue/journal")
    }
}
