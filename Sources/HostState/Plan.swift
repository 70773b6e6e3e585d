public import Addresses
public import BPF
import Glibc
public import Netlink
import SystemCalls

/// A step from the present state of the machine to the wanted one.
public struct Step: Sendable, Hashable, CustomStringConvertible {
    /// A part of a step's work.
    public enum Part {
        /// Changes that one call makes. They are journalled before this call.
        case make([Change], by: () throws -> Void)
        /// A change of an earlier run that is undone, also without an entry in the journal.
        case undo(Change)
        /// Work that leaves nothing to undo.
        case run(() throws -> Void)
    }

    /// The error by which a part says that another program has made its change meanwhile. The change is not journalled,
    /// and the step succeeds.
    public struct Unneeded: Error {
        public init() {}
    }

    /// The step as one line of text. Steps with the same description are equal.
    public let description: String
    /// The contents of the file that the step writes. Nil: the step writes no file.
    public let text: String?
    fileprivate let parts: @Sendable (ChangeJournal, RouteSocket) throws -> [Part]

    /// Describes a step. `parts` is called when the step is made, as an earlier step may create the device that this
    /// step changes.
    public init(
        _ description: String, text: String? = nil,
        parts: @escaping @Sendable (ChangeJournal, RouteSocket) throws -> [Part]
    ) {
        self.description = description
        self.text = text
        self.parts = parts
    }

    public static func == (one: Step, other: Step) -> Bool { one.description == other.description }
    public func hash(into hasher: inout Hasher) { hasher.combine(description) }
}

/// The steps to the wanted state, in their order. An empty plan means that nothing differs.
public struct Plan: Sendable, Equatable {
    public var steps: [Step]
    /// Warnings about settings that work, but perhaps not as the operator expects.
    public var notes: [String]

    public init(_ steps: [Step], notes: [String] = []) {
        self.steps = steps
        self.notes = notes
    }

    public var isEmpty: Bool { steps.isEmpty }

    /// The lines that a dry run prints.
    public var preview: [String] {
        steps.flatMap { step in ["would \(step)"] + (step.text?.split(separator: "\n") ?? []).map { "    \($0)" } }
    }

    /// Journals and makes the steps, and reports each completed one. On failure the steps of this call are undone.
    public func apply(journal: ChangeJournal, report: (Step) -> Void) throws {
        try journal.revertingOnFailure { try make(journal: journal, report: report) }
    }

    /// Does the same, but a failure leaves the completed steps in place.
    public func make(journal: ChangeJournal, report: (Step) -> Void) throws {
        let socket = try RouteSocket()
        for step in steps {
            try journal.make(step.parts(journal, socket))
            // A device that was just created has an index now.
            try journal.follow(socket.links())
            report(step)
        }
    }
}

extension ChangeJournal {
    public func make(_ parts: [Step.Part]) throws {
        for part in parts {
            switch part {
            case .make(let changes, let act): do { try make(changes, act) } catch is Step.Unneeded {}
            case .undo(let change): if entry(for: change) == nil { try change.undo() } else { try undo(change) }
            case .run(let act): try act()
            }
        }
    }

    /// Calls `body`. On failure the changes that it has journalled are undone.
    public func revertingOnFailure<Result>(_ body: () throws -> Result) throws -> Result {
        let before = changes
        do { return try body() } catch {
            _ = undoAll(except: before) { _, _ in }
            throw error
        }
    }
}

// MARK: Steps of several plans

extension Step {
    /// Returns a step that loads a module, and that throws `failure` if modprobe cannot load it.
    public static func loadModule(_ name: String, orElse failure: any Error) -> Step {
        Step("load kernel module \(name)") { _, _ in
            [.make([.module(name: name)]) { do { try KernelModule.load(name) } catch { throw failure } }]
        }
    }

    public static func setSysctl(_ key: String, to value: String) -> Step {
        Step("set sysctl \(key) to \(value)") { _, _ in
            [.make([.sysctl(key: key, original: try Sysctl.read(key))]) { try Sysctl.write(key, value) }]
        }
    }

    public static func setUp(_ device: String) -> Step {
        Step("set \(device) up") { journal, socket in
            let link = try socket.present(device)
            return [
                .change(.linkUp(name: .init(link), wasUp: link.isUp), of: link, journal) {
                    try socket.setUp(true, interface: link.index)
                }
            ]
        }
    }

    public static func addAddress(
        _ address: IPAddress, peer: IPAddress? = nil, prefixLength: UInt8 = 32, to device: String
    ) -> Step {
        Step("add address \(address)\(peer.map { " peer \($0)" } ?? "")/\(prefixLength) to \(device)") {
            journal, socket in
            let link = try socket.present(device)
            let change = Change.address(
                interface: .init(link), address: address, peer: peer, prefixLength: prefixLength)
            return [
                .change(change, of: link, journal) {
                    try socket.addAddress(address, peer: peer, prefixLength: prefixLength, to: link.index)
                }
            ]
        }
    }

    public static func removeAddress(_ entry: InterfaceAddress, from device: String) -> Step {
        Step("remove address \(entry.address)/\(entry.prefixLength) from \(device)") { _, socket in
            let place = try socket.link(index: entry.interface).map(Change.Interface.init) ?? .init(named: device)
            let change = Change.addressRemoved(
                interface: place, address: entry.address, prefixLength: entry.prefixLength, scope: entry.scope)
            return [
                .make([change]) {
                    try socket.removeAddress(entry.address, prefixLength: entry.prefixLength, from: entry.interface)
                }
            ]
        }
    }
}

extension Step.Part {
    /// Returns a change of a device. If the journal has the device as a tunnel, the change is not journalled: removal
    /// of the tunnel undoes it.
    fileprivate static func change(
        _ change: Change, of link: Link, _ journal: ChangeJournal, by act: @escaping () throws -> Void
    ) -> Step.Part {
        journal.entry(for: .tunnel(name: .init(link))) == nil ? .make([change], by: act) : .run(act)
    }

    /// Returns the parts that attach a tc program, and that first create the clsact qdisc if it is missing.
    public static func program(
        _ hook: BPFProgram.TrafficControlHook, on link: Link, _ socket: RouteSocket,
        attach: @escaping () throws -> Void
    ) throws -> [Step.Part] {
        let place = Change.Interface(link)
        let filter = Change.filter(
            interface: place, direction: hook.direction, priority: hook.priority, handle: hook.handle)
        let qdisc = Step.Part.make([.qdisc(interface: place)]) { _ = try hook.createQdisc() }
        return try (socket.hasClsact(interface: link.index) ? [] : [qdisc]) + [.make([filter], by: attach)]
    }
}

extension RouteSocket {
    /// Returns the device of that name. Throws ENODEV if there is none.
    package func present(_ device: String) throws -> Link {
        if let link = try link(named: device) { return link }
        throw SystemError("look up \(device)", code: ENODEV)
    }
}
