import Addresses
import BPF
import CLinux
import Foundation
import Glibc
import Testing

@testable import HostState
@testable import Netlink

/// The journal's entries of interfaces that are renamed, replaced or known by their names alone.
struct JournalledInterfaceTests {
    private static func link(_ index: Int32, _ name: String, mac: UInt8? = nil) -> Link {
        Link(
            index: index, name: name, kind: nil, mtu: 1500, isUp: true, hasCarrier: true, isLoopback: false,
            hardwareType: 1, address: MACAddress([2, 0, 0, 0, 0, mac ?? UInt8(index)]), master: nil, lower: nil,
            tag: nil, filtersVLANs: false, noARP: false, transmitErrors: 0, transmitDropped: 0)
    }

    /// A device without an address, such as a TUN device or a tunnel.
    private static func plain(_ index: Int32, _ name: String) -> Link {
        var link = link(index, name)
        link.address = nil
        return link
    }

    private static let eth0 = link(2, "eth0")
    private static let vip = IPAddress(0x0A00_0064)

    private static func filter(_ interface: Change.Interface) -> Change {
        .filter(interface: interface, direction: .ingress, priority: 1, handle: 2)
    }

    private func withJournal(_ body: (String) throws -> Void) throws {
        let directory = NSTemporaryDirectory() + "/journalled-interface-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try body(directory + "/journal")
    }

    private static func text(_ path: String) throws -> String {
        String(decoding: try #require(FileManager.default.contents(atPath: path)), as: UTF8.self)
    }

    /// Writes changes in the form of an earlier version, or in the first form.
    private static func write(_ changes: String, to path: String, isFirstForm: Bool = false) throws {
        let text =
            isFirstForm
            ? "{\"version\":1,\"changes\":[\(changes)]}\n" : "{\"version\":2}\n{\"made\":[\(changes)],\"undone\":[]}\n"
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }

    @Test("every kind of change keeps its interface's index in the file")
    func everyKind() throws {
        let place = Change.Interface(Self.eth0)
        let changes: [Change] = [
            .sysctl(key: "net/ipv4/conf/eth0/rp_filter", original: "1", interface: place),
            .address(interface: place, address: Self.vip, prefixLength: 32),
            .addressRemoved(interface: place, address: Self.vip, prefixLength: 24, scope: 0), .link(name: place),
            .tunnel(name: place), .tun(name: place), .linkUp(name: place, wasUp: false),
            .neighbour(address: IPAddress(1), interface: place),
            .offload(interface: place, feature: "rx-lro"), .qdisc(interface: place), Self.filter(place),
        ]
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            for change in changes { try journal.make(change) {} }
            #expect(try ChangeJournal(path: path).changes == changes)
            #expect(try ChangeJournal.read(path: path).allSatisfy { $0.interface == place })
            // All entries have the new name, and none is of the other device with the old name.
            try journal.follow([Self.link(2, "wan0"), Self.link(3, "eth0")])
            let renamed = try ChangeJournal.read(path: path)
            #expect(renamed.count == changes.count)
            #expect(renamed == journal.changes)
            #expect(renamed.allSatisfy { $0.interface == Change.Interface(Self.link(2, "wan0")) })
            #expect(renamed.first?.description == "sysctl net/ipv4/conf/wan0/rp_filter, originally 1")
        }
    }

    @Test("changes name interfaces as earlier versions wrote them")
    func earlierVersionsRead() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.qdisc(interface: .init(Self.eth0))) {}
            try journal.make(.link(name: "ipvsd0")) {}
            let lines = try Self.text(path).split(separator: "\n")
            #expect(
                lines == [
                    #"{"version":2}"#,
                    #"{"interfaces":{"eth0":{"address":"02:00:00:00:00:02","index":2}},"made":[{"qdisc":{"interface":"eth0"}}],"undone":[]}"#,
                    #"{"made":[{"link":{"name":"ipvsd0"}}],"undone":[]}"#,
                ])
        }
    }

    @Test("a journal of names alone is bound to the devices of these names", arguments: [false, true])
    func earlierVersionsAreRead(isFirstForm: Bool) throws {
        try withJournal { path in
            try Self.write(
                #"{"address":{"interface":"eth0","address":"10.0.0.100","prefixLength":32}},"#
                    + #"{"sysctl":{"key":"net/ipv4/conf/eth0/rp_filter","original":"1"}}"#, to: path,
                isFirstForm: isFirstForm)
            let address = Change.address(interface: "eth0", address: Self.vip, prefixLength: 32)
            let journal = try ChangeJournal(path: path)
            #expect(journal.changes.first == address)
            #expect(
                journal.entry(for: .address(interface: .init(Self.eth0), address: Self.vip, prefixLength: 32))
                    == address)
            try journal.follow([Self.eth0])
            let place = Change.Interface(Self.eth0)
            let bound: [Change] = [
                .address(interface: place, address: Self.vip, prefixLength: 32),
                .sysctl(key: "net/ipv4/conf/eth0/rp_filter", original: "1", interface: place),
            ]
            #expect(journal.changes == bound)
            #expect(try ChangeJournal.read(path: path) == bound)
        }
    }

    @Test("an entry stays with its original when it learns its interface's index")
    func originalStays() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.linkUp(name: "eth0", wasUp: true)) {}
            try journal.make(.linkUp(name: .init(Self.eth0), wasUp: false)) {}
            #expect(journal.changes == [.linkUp(name: .init(Self.eth0), wasUp: true)])
            #expect(try ChangeJournal.read(path: path) == journal.changes)
            try journal.undo(.linkUp(name: "eth0", wasUp: false))
            #expect(journal.changes.isEmpty)
            #expect(!FileManager.default.fileExists(atPath: path))
        }
    }

    @Test("interfaces that swap their names keep their changes")
    func namesAreSwapped() throws {
        try withJournal { path in
            let eth1 = Self.link(3, "eth1")
            let journal = try ChangeJournal(path: path)
            for link in [Self.eth0, eth1] { try journal.make(.qdisc(interface: .init(link))) {} }
            try journal.make(Self.filter(.init(eth1))) {}
            let swapped = [Self.link(2, "eth1"), Self.link(3, "eth0")]
            try journal.follow(swapped)
            #expect(
                journal.changes == [
                    .qdisc(interface: .init(swapped[0])), .qdisc(interface: .init(swapped[1])),
                    Self.filter(.init(swapped[1])),
                ])
            #expect(try ChangeJournal.read(path: path) == journal.changes)
            // Another device has a name that the journal has already.
            let other = Self.link(4, "eth0")
            try journal.make(.qdisc(interface: .init(other))) {}
            #expect(try ChangeJournal.read(path: path).count == 4)
            // The whole file is written anew.
            try FileManager.default.removeItem(atPath: path)
            try journal.make(.link(name: "a")) {}
            #expect(try ChangeJournal.read(path: path) == journal.changes)
        }
    }

    /// Earlier versions identify an entry by its name, and ignore unknown keys.
    @Test("earlier versions see an interface's entries under its new name alone")
    func earlierVersionsFollow() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.qdisc(interface: .init(Self.eth0))) {}
            try journal.make(.pin(path: "/none/pin")) {}
            let renamed = Self.link(2, "wan0")
            try journal.follow([renamed, Self.link(3, "eth0")])
            #expect(
                try Self.text(path).split(separator: "\n").suffix(2) == [
                    #"{"interfaces":{"eth0":{"address":"02:00:00:00:00:02","index":2}},"made":[],"renames":true,"#
                        + #""undone":[{"qdisc":{"interface":"eth0"}}]}"#,
                    #"{"interfaces":{"wan0":{"address":"02:00:00:00:00:02","index":2}},"#
                        + #""made":[{"qdisc":{"interface":"wan0"}}],"undone":[]}"#,
                ])
            // This version keeps the order in which they were made.
            #expect(try ChangeJournal.read(path: path) == [.qdisc(interface: .init(renamed)), .pin(path: "/none/pin")])
            // A change alone has the same effect.
            let again = Self.link(2, "wan1")
            try journal.make(.qdisc(interface: .init(again))) {}
            let line = try #require(try Self.text(path).split(separator: "\n").dropLast().last)
            #expect(line.hasSuffix(#""renames":true,"undone":[{"qdisc":{"interface":"wan0"}}]}"#))
            #expect(try ChangeJournal.read(path: path) == journal.changes)
        }
    }

    @Test("a device that was made anew under its old name has the changes of the old one")
    func madeAnew() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(Self.filter(.init(Self.eth0))) {}
            let new = Self.link(9, "eth0")
            #expect(Change.Interface(Self.eth0).find(among: [new]) == new)
            try journal.follow([new])
            #expect(journal.changes == [Self.filter(.init(new))])
            // The changes of another new device are made before the names are updated.
            let newest = Self.link(11, "eth0")
            for change in [.qdisc(interface: .init(newest)), Self.filter(.init(newest))] { try journal.make(change) {} }
            try journal.follow([newest])
            #expect(journal.changes == [.qdisc(interface: .init(newest)), Self.filter(.init(newest))])
            #expect(try ChangeJournal.read(path: path) == journal.changes)
        }
    }

    @Test("an index that has become another device's leads to the name")
    func indexOfAnother() {
        let place = Change.Interface(Self.eth0)
        let stranger = Self.link(2, "veth1", mac: 9)
        #expect(place.find(among: [stranger]) == nil)
        let new = Self.link(7, "eth0", mac: 7)
        #expect(place.find(among: [stranger, new]) == new)
        // A device with another MAC address alone, or another name alone, is the same device.
        #expect(place.find(among: [Self.link(2, "eth0", mac: 9)])?.index == 2)
        #expect(place.find(among: [Self.link(2, "wan0"), new])?.name == "wan0")
        #expect(!place.isSame(as: .init(stranger)))
        #expect(place.isSame(as: "eth0"))
    }

    @Test("a device without an address that got the index of another one is not taken for it")
    func indexOfAnotherWithoutAddress() throws {
        let tunnel = Self.plain(5, "tunl0")
        let place = Change.Interface(tunnel)
        let stranger = Self.plain(5, "wg0")
        let new = Self.plain(9, "tunl0")
        #expect(place.find(among: [stranger]) == nil)
        #expect(place.find(among: [tunnel]) == tunnel)
        #expect(place.find(among: [stranger, new]) == new)
        #expect(!place.isSame(as: .init(stranger)))
        #expect(place.isSame(as: .init(tunnel)))
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.linkUp(name: place, wasUp: true)) {}
            try journal.follow([stranger])
            #expect(journal.changes == [.linkUp(name: place, wasUp: true)])
            #expect(journal.entry(for: .linkUp(name: .init(stranger), wasUp: false)) == nil)
            try journal.follow([stranger, new])
            #expect(try ChangeJournal.read(path: path) == [.linkUp(name: .init(new), wasUp: true)])
        }
    }

    @Test("a tunnel that was renamed is found, and a device of another kind with its index is not")
    func kindOfATunnel() throws {
        var tunnel = Self.plain(5, "tunl0")
        tunnel.kind = "ipip"
        var renamed = Self.plain(5, "tunnel")
        renamed.kind = "ipip"
        var stranger = Self.plain(5, "wg0")
        stranger.kind = "wireguard"
        let place = Change.Interface(tunnel)
        #expect(place.find(among: [renamed]) == renamed)
        #expect(place.find(among: [stranger]) == nil)
        #expect(place.isSame(as: .init(renamed)))
        #expect(!place.isSame(as: .init(stranger)))
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.linkUp(name: place, wasUp: true)) {}
            try journal.follow([renamed])
            #expect(try ChangeJournal.read(path: path) == [.linkUp(name: .init(renamed), wasUp: true)])
        }
    }

    @Test("the hardware's address counts where another one is set")
    func hardwareAddress() {
        var member = Self.eth0
        member.permanentAddress = MACAddress([2, 0, 0, 0, 0, 0x77])
        let place = Change.Interface(member)
        member.name = "wan0"
        member.address = MACAddress([2, 0, 0, 0, 0, 0x55])
        #expect(place.find(among: [member]) == member)
    }

    @Test("what one run did is taken back, though an interface was renamed meanwhile")
    func undoOfOneRun() throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.qdisc(interface: .init(Self.eth0))) {}
            let before = journal.changes
            try journal.follow([Self.link(2, "wan0")])
            try journal.make(.pin(path: "/none/pin")) {}
            #expect(journal.undoAll(except: before) { _, _ in })
            #expect(journal.changes == [.qdisc(interface: .init(Self.link(2, "wan0")))])
        }
    }

    @Test("names that could not be written are written later", arguments: [false, true])
    func namesAreOwed(byChange: Bool) throws {
        try withJournal { path in
            let journal = try ChangeJournal(path: path)
            try journal.make(.qdisc(interface: .init(Self.eth0))) {}
            let renamed = Self.link(2, "wan0")
            // The file can neither be appended to nor replaced.
            let kept = path + ".kept"
            #expect(rename(path, kept) == 0)
            #expect(symlink(kept, path) == 0)
            #expect(mkdir(path + ".new", 0o700) == 0)
            #expect(throws: (any Error).self) {
                if byChange {
                    try journal.make(.qdisc(interface: .init(renamed))) {}
                } else {
                    try journal.follow([renamed])
                }
            }
            #expect(rmdir(path + ".new") == 0)
            #expect(unlink(path) == 0)
            #expect(rename(kept, path) == 0)
            #expect(try ChangeJournal.read(path: path) == [.qdisc(interface: .init(Self.eth0))])
            try journal.follow([renamed])
            #expect(try ChangeJournal.read(path: path) == [.qdisc(interface: .init(renamed))])
        }
    }

    /// The second device gets the name of the first. The exit test has a network namespace of its own.
    @Test("what was put on a renamed interface is undone there, and nowhere else")
    func undoneByIndex() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let socket = try RouteSocket()
            try socket.createVeth(name: "ji-a", peer: "ji-b")
            let first = try #require(try socket.link(named: "ji-a"))
            let second = try #require(try socket.link(named: "ji-b"))
            let vip = IPAddress(0x0A00_0064)
            let key = "net/ipv4/conf/ji-a/rp_filter"
            let path = "/tmp/ji-journal-\(getpid())/journal"
            let journal = try ChangeJournal(path: path)
            let original = try Sysctl.read(key)
            try Offload.set("rx-gro", of: "ji-a", on: true)
            try journal.make(.sysctl(key: key, original: original)) { try Sysctl.write(key, "1") }
            try journal.make(.offload(interface: .init(first), feature: "rx-gro")) {
                try Offload.set("rx-gro", of: "ji-a", on: false)
            }
            try journal.make(.address(interface: .init(first), address: vip, prefixLength: 32)) {
                try socket.addAddress(vip, prefixLength: 32, to: first.index)
            }
            try journal.follow(socket.links())
            for (from, to) in [("ji-a", "ji-c"), ("ji-b", "ji-a")] {
                #expect(Command.status("ip", ["link", "set", from, "name", to]) == 0)
            }
            try Sysctl.write(key, "2")
            try socket.addAddress(vip, prefixLength: 32, to: second.index)
            #expect(try ChangeJournal(path: path).undoAll { _, _ in })
            #expect(try Sysctl.read("net/ipv4/conf/ji-c/rp_filter") == original)
            #expect(try Sysctl.read(key) == "2")
            #expect(try Offload.isOn("rx-gro", of: "ji-c") == true)
            #expect(try socket.addresses().filter { $0.address == vip }.map(\.interface) == [second.index])
            rmdir("/tmp/ji-journal-\(getpid())")
        }
    }
}
