import Addresses
import BPF
import CLinux
import Glibc
import HostState
import Netlink
import SystemCalls
import Testing

struct ChangeJournalTests {
    /// Calls `body` with the path of a journal in a directory of its own.
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
        .address(interface: "eth0", address: IPAddress(0x0A00_0064), prefixLength: 32), .link(name: "a"),
        .tun(name: "tunl0"), .linkUp(name: "tunl0", wasUp: false),
        .route(Route(destination: IPAddress(0), prefixLength: 0, advmss: 1440, otherMetrics: [2: [1, 0, 0, 0]])),
        .rule(Rule(priority: 1, source: nil, table: 2, protocolID: 3)),
        .neighbour(address: IPAddress(1), interface: "eth0"), .offload(interface: "eth0", feature: "rx-lro"),
        .qdisc(interface: "eth0"),
        .filter(interface: "eth0", direction: .ingress, priority: 1, handle: 2), .mount(path: "/sys/fs/bpf"),
        .module(name: "ipip"), .directory(path: "/x"), .pin(path: "/y"), .attachment(path: "/z"),
        .address(interface: "t1", address: IPAddress(1), peer: IPAddress(2), prefixLength: 32),
        .tunnel(name: "t1"), .file(path: "/etc/x"), .netfilterTable(name: "ipvsd"),
        .netfilterElement(table: "ipvsd", set: "vips", address: IPAddress(1)),
    ]

    /// An address in version 1 may lack a peer.
    @Test("a journal of version 1 is read and continued")
    func anEarlierJournalIsRead() throws {
        try withJournal { path in
            try ChangeJournal(path: path).make(.link(name: "a")) {}
            let text = """
                {"version": 1, "changes": [
                  {"address": {"interface": "eth0", "address": "10.0.0.100", "prefixLength": 32}}]}
                """
            Self.write(text.utf8, path)
            let first = Change.address(interface: "eth0", address: IPAddress(0x0A00_0064), prefixLength: 32)
            #expect(try ChangeJournal.read(path: path) == [first])
            try ChangeJournal(path: path).make(.link(name: "b")) {}
            #expect(try ChangeJournal.read(path: path) == [first, .link(name: "b")])
        }
    }

    @Test("the undoing of a written file removes it")
    func aFileIsRemoved() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            let file = path + ".file"
            try journal.make(.file(path: file)) { fclose(fopen(file, "w")) }
            #expect(exists(file))
            #expect(journal.undoAll { _, _ in })
            #expect(!exists(file))
        }
    }

    @Test("each kind of change is read as it was written")
    func everyKindSurvivesTheFile() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            for change in Self.everyKind { try journal.make(change) {} }
            #expect(try ChangeJournal.read(path: path) == Self.everyKind)
            #expect(try ChangeJournal(path: path).changes == Self.everyKind)
        }
    }

    /// IPv4 addresses have the text of earlier versions.
    @Test("neighbours of both families are read as they were written")
    func neighboursOfBothFamiliesSurviveTheFile() throws {
        try withJournal { path in
            let near = Change.neighbour(address: try #require(IPAddress("10.0.0.1")), interface: "eth0")
            let far = Change.neighbour(address: .v6(try #require(IPv6Address("fe80::1"))), interface: "eth0")
            let journal = try ChangeJournal(path: path)
            for change in [near, far] { try journal.make(change) {} }
            #expect(try ChangeJournal.read(path: path) == [near, far])
            let text = String(decoding: try Self.file(path), as: UTF8.self)
            #expect(text.contains("\"10.0.0.1\""))
            #expect(text.contains("\"fe80::1\""))
        }
    }

    private static func file(_ path: String) throws -> [UInt8] {
        let file = try #require(fopen(path, "r"))
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        return Array(bytes[..<fread(&bytes, 1, bytes.count, file)])
    }

    private static func write(_ bytes: some Sequence<UInt8>, _ path: String) {
        let bytes = Array(bytes)
        let file = fopen(path, "w")
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
    }

    private static func many(_ count: UInt32) -> [Change] {
        (0..<count).map { .address(interface: "eth0", address: IPAddress(0x0A01_0000 + $0), prefixLength: 32) }
    }

    @Test("a batch of changes is one line, written before the changes")
    func aBatchIsWrittenDownOnceAndBeforeAll() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.link(name: "a")) {}
            let changes = Self.many(50)
            try journal.make(changes) {
                let written = try ChangeJournal.read(path: path)
                #expect(written == [.link(name: "a")] + changes)
            }
            let lines = try Self.file(path).split(separator: 10)
            #expect(lines.count == 3)
        }
    }

    @Test("a batch that fails leaves the entries that were there before it")
    func failedBatch() throws {
        try withJournal { path in
            let changes = Self.many(5)
            try ChangeJournal(path: path).make(changes[4]) {}
            let journal = try ChangeJournal(path: path)
            #expect(throws: Failure.self) { try journal.make(changes) { throw Failure() } }
            #expect(journal.changes == [changes[4]])
            #expect(try ChangeJournal.read(path: path) == journal.changes)
        }
    }

    /// A removal still succeeds on a full file system.
    @Test("an undoing on a full file system succeeds once the journal is removed")
    func whatIsUndoneWithoutBeingWrittenDownIsNoFailure() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            let files = ["one", "two", "three"].map { "\(path).\($0)" }
            for file in files { try journal.make(.file(path: file)) { fclose(fopen(file, "w")) } }
            // Neither an append nor a new file is possible.
            #expect(unlink(path) == 0)
            #expect(mkdir(path + ".new", 0o700) == 0)
            defer { rmdir(path + ".new") }
            var failures: [String] = []
            let isComplete = journal.undoAll { if let error = $1 { failures.append("\($0): \(error)") } }
            #expect(isComplete)
            #expect(failures == [])
            #expect(!files.contains(where: exists))
            #expect(!exists(path))
        }
    }

    @Test("a single undoing on a full file system fails, and the next record has it")
    func aSingleOneThatIsUndoneWithoutBeingWrittenDownIsAFailure() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            let files = ["one", "two"].map { "\(path).\($0)" }
            for file in files { try journal.make(.file(path: file)) { fclose(fopen(file, "w")) } }
            try Self.withoutRoom(path) {
                #expect(throws: SystemError.self) { try journal.undo(.file(path: files[0])) }
                #expect(!exists(files[0]))
                let named = try ChangeJournal.read(path: path)
                #expect(named.count == 2)
            }
            // The next record has the undoing, too.
            try journal.make(.link(name: "a")) {}
            #expect(try ChangeJournal.read(path: path) == [.file(path: files[1]), .link(name: "a")])
            unlink(files[1])
        }
    }

    @Test("an undoing fails at its end where the file still names undone changes")
    func aFileThatGoesOnNamingWhatIsUndoneIsAFailureAtTheEnd() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            let files = ["one", "two", "three"].map { "\(path).\($0)" }
            for file in files { try journal.make(.file(path: file)) { fclose(fopen(file, "w")) } }
            try Self.withoutRoom(path) {
                var failures: [Change] = []
                let isComplete = journal.undoAll(except: [.file(path: files[0])]) {
                    if $1 != nil { failures.append($0) }
                }
                #expect(!isComplete)
                #expect(failures == [.file(path: files[2]), .file(path: files[1])])
                #expect(!exists(files[1]))
                #expect(!exists(files[2]))
                #expect(exists(files[0]))
            }
            #expect(journal.undoAll { _, _ in })
            #expect(!exists(path))
        }
    }

    /// Calls `body` while the file can be read and removed, but neither appended to nor replaced.
    private static func withoutRoom(_ path: String, _ body: () throws -> Void) throws {
        let directory = path + ".new"
        let kept = path + ".kept"
        // O_NOFOLLOW refuses the link.
        #expect(rename(path, kept) == 0)
        #expect(symlink(kept, path) == 0)
        #expect(mkdir(directory, 0o700) == 0)
        defer {
            rmdir(directory)
            unlink(path)
            rename(kept, path)
        }
        try body()
    }

    /// The next run would take the file for the present state.
    @Test("a journal that cannot be removed is a failure")
    func aJournalThatCannotBeRemovedIsAFailure() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.file(path: path + ".file")) {}
            #expect(unlink(path) == 0)
            #expect(mkdir(path, 0o700) == 0)
            defer { rmdir(path) }
            #expect(!journal.undoAll { _, _ in })
        }
    }

    /// A kill or a full disk ends a write at any byte.
    @Test("a line that was cut off at any byte is ignored, and the journal is continued")
    func aLineThatWasCutOffWasNeverMade() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.link(name: "a")) {}
            try journal.make(.link(name: "b")) {}
            let before = try Self.file(path)
            try journal.make(Self.many(3)) {}
            let after = try Self.file(path)
            #expect(after.starts(with: before))
            #expect(after.count > before.count + 50)
            for length in before.count...after.count {
                Self.write(after.prefix(length), path)
                let isWhole = length == after.count
                let expected = [.link(name: "a"), .link(name: "b")] + (isWhole ? Self.many(3) : [])
                #expect(try ChangeJournal.read(path: path) == expected)
                // Further changes are appended.
                try ChangeJournal(path: path).make(.link(name: "c")) {}
                #expect(try ChangeJournal.read(path: path) == expected + [.link(name: "c")])
            }
        }
    }

    /// Changes are made and undone at random. The file stays short.
    @Test("the file always has the changes of the journal in memory")
    func theFileSaysWhatTheJournalDoes() throws {
        try withJournal { path in
            var journal = try ChangeJournal(path: path)
            var random = SystemRandomNumberGenerator()
            for turn in 0..<3000 {
                // None of these pins exists, so that their undoing does nothing.
                let change = Change.pin(path: "/none/\(UInt8.random(in: 0..<40, using: &random))")
                if Bool.random(using: &random) { try journal.make(change) {} } else { try journal.undo(change) }
                if turn % 50 == 0 {
                    let changes = journal.changes
                    #expect(try ChangeJournal.read(path: path) == changes)
                    if turn % 500 == 0 { journal = try ChangeJournal(path: path) }
                    #expect(journal.changes == changes)
                }
            }
            if !journal.changes.isEmpty { #expect(try Self.file(path).count < 100_000) }
        }
    }

    @Test("a removed file is written anew by the next change")
    func aJournalThatSomebodyRemovedIsWrittenAnew() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.link(name: "a")) {}
            unlink(path)
            try journal.make(.link(name: "b")) {}
            #expect(try ChangeJournal.read(path: path) == [.link(name: "a"), .link(name: "b")])
        }
    }

    /// A journal whose work for each change grows with their number takes minutes.
    @Test("four thousand changes are made and undone within 20 s")
    func fourThousandChangesAreNoMatter() throws {
        try withJournal { path in
            let changes = (0..<4000).map { Change.pin(path: "/none/\($0)") }
            let began = ContinuousClock.now
            let journal = try ChangeJournal(path: path)
            for change in changes { try journal.make(change) {} }
            #expect(try ChangeJournal(path: path).changes == changes)
            #expect(journal.undoAll { _, _ in })
            #expect(began.duration(to: .now) < .seconds(20))
        }
    }

    @Test("an entry is written before its change is made")
    func entryIsWrittenBeforeTheChange() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            let change = Change.directory(path: "/nowhere")
            var written: [Change] = []
            try journal.make(change) { written = try ChangeJournal.read(path: path) }
            #expect(written == [change])
        }
    }

    @Test("the first original of a subject stays")
    func firstOriginalWins() throws {
        try withJournal { path in
            let first = Change.sysctl(key: "a", original: "0")
            try ChangeJournal(path: path).make(first) {}
            let journal = try ChangeJournal(path: path)
            try journal.make(.sysctl(key: "a", original: "1")) {}
            #expect(throws: Failure.self) { try journal.make(.sysctl(key: "a", original: "2")) { throw Failure() } }
            #expect(journal.changes == [first])
        }
    }

    @Test("the entry of a failed change is removed")
    func failedChangeIsTakenBack() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            #expect(throws: Failure.self) { try journal.make(.link(name: "a")) { throw Failure() } }
            #expect(journal.changes.isEmpty)
            #expect(access(path, F_OK) != 0)
        }
    }

    @Test("changes are undone in reverse order, and only once")
    func undoesInReverseOrderAndAgain() throws {
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
            #expect(access(root, F_OK) != 0)
            #expect(access(path, F_OK) != 0)
            #expect(journal.undoAll { change, _ in Issue.record("\(change)") })
        }
    }

    @Test("a damaged journal is an error")
    func damagedJournalIsAnErrorNotAnEmptyOne() throws {
        try withJournal { path in
            _ = try ChangeJournal(path: path)
            let damaged = ["{", "", "\n", "{\"version\":2}", "{\"version\":2}\n{}x\n", "{\"version\":3}\n"]
            for text in damaged {
                Self.write(text.utf8, path)
                let error = #expect(throws: SystemError.self, "\(text)") { try ChangeJournal(path: path) }
                #expect(error?.code == EPROTO)
            }
        }
    }

    @Test("names of instances have only letters, digits, \".\", \"_\" and \"-\"")
    func instanceNames() {
        #expect(InstancePaths.isValid(name: "blue-2"))
        for name in ["", "..", "a/b", "a b", ".hidden"] { #expect(!InstancePaths.isValid(name: name)) }
        #expect(InstancePaths(name: "blue").journal == "/run/ipvsd/blue/journal")
    }

    /// The exit test has a network namespace with a veth, whose features can be turned on and off.
    @Test("offloads that were turned off are turned on again")
    func offloadsAreRestored() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            try RouteSocket().createVeth(name: "hs-a", peer: "hs-b")
            let path = "/tmp/hs-offload-\(getpid())/journal"
            let journal = try ChangeJournal(path: path)
            let features = ["rx-gro", "rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"]
            try Offload.set("rx-gro", of: "hs-a", on: true)
            for feature in features {
                #expect(try Offload.isOn(feature, of: "hs-a") == true)
                try journal.make(.offload(interface: "hs-a", feature: feature)) {
                    try Offload.set(feature, of: "hs-a", on: false)
                }
                #expect(try Offload.isOn(feature, of: "hs-a") == false)
                #expect(try Offload.isOn(feature, of: "hs-b") != nil)
            }
            // A feature that a veth cannot change, an unknown feature, and an unknown device.
            #expect(try Offload.isOn("rx-lro", of: "hs-a") == nil)
            #expect(try Offload.isOn("rx-nonsense", of: "hs-a") == nil)
            #expect(try Offload.isOn("rx-gro", of: "hs-none") == nil)
            let error = #expect(throws: SystemError.self) { try Offload.set("rx-lro", of: "hs-a", on: true) }
            #expect(error?.description.hasPrefix("turn rx-lro of hs-a on: ") == true)
            // A feature that is on again, and a device that is gone, are no failures.
            try Offload.set("rx-gro", of: "hs-a", on: true)
            try journal.make(.offload(interface: "hs-none", feature: "rx-gro")) {}
            #expect(try ChangeJournal(path: path).undoAll { _, _ in })
            for feature in features { #expect(try Offload.isOn(feature, of: "hs-a") == true) }
            rmdir("/tmp/hs-offload-\(getpid())")
        }
    }
}
