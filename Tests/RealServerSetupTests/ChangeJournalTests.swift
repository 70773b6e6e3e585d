import BPF
import CLinux
import Glibc
import HostState
import LoadBalancing
import Netlink
import SystemCalls
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
        .address(interface: "t1", address: IPv4Address(1), peer: IPv4Address(2), prefixLength: 32),
        .tunnel(name: "t1"), .file(path: "/etc/x"),
    ]

    /// Of the program before there were peers.
    @Test func anEarlierJournalIsRead() throws {
        try withJournal { path in
            try ChangeJournal(path: path).make(.link(name: "a")) {}
            let text = """
                {"version": 1, "changes": [
                  {"address": {"interface": "eth0", "address": "10.0.0.100", "prefixLength": 32}}]}
                """
            let file = fopen(path, "w")
            fputs(text, file)
            fclose(file)
            #expect(
                try ChangeJournal.read(path: path)
                    == [.address(interface: "eth0", address: IPv4Address(0x0A00_0064), prefixLength: 32)])
        }
    }

    @Test func aFileIsRemoved() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            let file = path + ".file"
            try journal.make(.file(path: file)) { fclose(fopen(file, "w")) }
            #expect(exists(file))
            #expect(journal.undoAll { _, _ in })
            #expect(!exists(file))
        }
    }

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

    /// In a namespace of its own (an exit test), by a veth, which has features to switch.
    @Test func offloadsAreRestored() async {
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
            // What a veth cannot, a feature that is none, a device that is none.
            #expect(try Offload.isOn("rx-lro", of: "hs-a") == nil)
            #expect(try Offload.isOn("rx-nonsense", of: "hs-a") == nil)
            #expect(try Offload.isOn("rx-gro", of: "hs-none") == nil)
            let error = #expect(throws: SystemError.self) { try Offload.set("rx-lro", of: "hs-a", on: true) }
            #expect(error?.description.hasPrefix("turn rx-lro of hs-a on: ") == true)
            // One that somebody else has switched on again, and one whose device is gone, are no failures.
            try Offload.set("rx-gro", of: "hs-a", on: true)
            try journal.make(.offload(interface: "hs-none", feature: "rx-gro")) {}
            #expect(try ChangeJournal(path: path).undoAll { _, _ in })
            for feature in features { #expect(try Offload.isOn(feature, of: "hs-a") == true) }
            rmdir("/tmp/hs-offload-\(getpid())")
        }
    }
}
