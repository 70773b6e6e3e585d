import BPF
import Glibc
import Netlink
import SystemCalls

extension Change {
    /// Restores the original state. A thing that is gone already is not an error.
    func undo() throws {
        switch self {
        case .sysctl(var key, let original, let interface):
            if let interface, let link = try interface.find(by: RouteSocket()) { key = Sysctl.key(key, of: link.name) }
            if Sysctl.exists(key) { try Sysctl.write(key, original) }
        case .address(let interface, let address, let peer, let prefixLength):
            try withLink(interface) {
                try $0.removeAddress(address, peer: peer, prefixLength: prefixLength, from: $1.index)
            }
        case .addressRemoved(let interface, let address, let prefixLength, let scope):
            try withLink(interface) {
                try $0.addAddress(address, prefixLength: prefixLength, to: $1.index, scope: scope)
            }
        case .link(let name), .tun(let name):
            try withLink(name) { try $0.deleteLink(index: $1.index) }
        case .tunnel(let name):
            try withLink(name) { if $1.kind == "ipip" { try $0.deleteLink(index: $1.index) } }
        case .linkUp(let name, let wasUp):
            try withLink(name) { try $0.setUp(wasUp, interface: $1.index) }
        case .route(let route):
            try RouteSocket().removeRoute(route)
        case .rule(let rule):
            try RouteSocket().removeRule(rule)
        case .neighbour(let address, let interface):
            try withLink(interface) { try $0.removeNeighbour(address, on: $1.index) }
        case .offload(let interface, let feature):
            try withLink(interface) { _, link in
                if try Offload.isOn(feature, of: link.name) == false {
                    try Offload.set(feature, of: link.name, on: true)
                }
            }
        case .qdisc(let interface):
            try withLink(interface) { socket, link in
                guard try socket.hasClsact(interface: link.index),
                    try socket.filters(interface: link.index, ingress: true).isEmpty,
                    try socket.filters(interface: link.index, ingress: false).isEmpty
                else { return }
                try BPFProgram.TrafficControlHook(
                    interface: link.index, direction: .ingress, priority: 0, handle: 0
                ).destroyQdisc()
            }
        case .filter(let interface, let direction, let priority, let handle):
            try withLink(interface) { _, link in
                try BPFProgram.TrafficControlHook(
                    interface: link.index, direction: direction, priority: priority, handle: handle
                ).detach()
            }
        case .mount(let path):
            try BPFFilesystem.unmountIfEmpty(path)
        case .module(let name):
            try KernelModule.unloadIfUnused(name)
        case .directory(let path):
            guard let path = try BPFFilesystem.resolve(path), rmdir(path) != 0 else { return }
            // A directory that is not empty stays: another instance or another program uses it, too.
            if ![ENOENT, ENOTEMPTY, EEXIST, EBUSY].contains(errno) { throw SystemError("remove directory \(path)") }
        case .file(let path):
            if unlink(path) != 0, errno != ENOENT { throw SystemError("remove \(path)") }
        case .netfilterTable(let name):
            try NFTables.removeTable(name)
        case .netfilterElement(let table, let set, let address):
            try NFTables.removeElement("\(address)", from: set, of: table)
        case .pin(let path):
            try unpin(path)
        case .attachment(let path):
            guard let visible = try BPFFilesystem.resolve(path), File.exists(visible) else {
                return try refuseHiddenAttachment(path)
            }
            // The link is opened only if its pin exists. bpf(2) may be refused to a process that attached nothing.
            try BPFLink(pinnedAt: visible)?.detach()
            try unpin(path)
        }
    }

    private func unpin(_ path: String) throws {
        guard let path = try BPFFilesystem.resolve(path), unlink(path) != 0, errno != ENOENT else { return }
        throw SystemError("remove \(path)")
    }

    /// Throws where the instance's directory is missing from the visible bpffs, but a packet program that no visible
    /// pin holds is still on the interface: its pin is on the bpffs of another mount namespace. Does not throw without
    /// the privilege to identify the program.
    private func refuseHiddenAttachment(_ path: String) throws(SystemError) {
        if let visible = try BPFFilesystem.resolve(path), File.exists(File.parent(of: visible)) { return }
        let pin = path.split(separator: "/").last ?? ""
        guard pin.hasPrefix("link-"), let interface = Int32(pin.dropFirst(5)),
            let attached = try? XDPAttachment.of(interface: interface),
            let program = try? BPFProgram(id: attached.programID), (try? program.name()) == "director"
        else { return }
        let isAnotherInstance = InstancePaths.bpfDirectories.contains { directory in
            (try? BPFLink(pinnedAt: "\(directory.path)/\(pin)")?.programID()) == attached.programID
        }
        if isAnotherInstance { return }
        throw SystemError(
            "detach XDP program \(attached.programID) from the interface with index \(interface)", code: EBUSY,
            detail: "its pin is on a bpffs that is not visible from this mount namespace")
    }

    private func withLink(_ interface: Interface, _ body: (RouteSocket, Link) throws -> Void) throws {
        let socket = try RouteSocket()
        if let link = try interface.find(by: socket) { try body(socket, link) }
    }
}
