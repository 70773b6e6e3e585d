internal import Addresses
internal import BPF
internal import CLinux
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms
internal import SystemCalls
internal import XDPDataPlane

/// The capture programs (fentry and fexit) on the director's program. None of them is pinned, so the kernel removes
/// them when the process ends in any way.
public final class Tap {
    /// The result of `follow`.
    public enum Change: Sendable {
        case none
        /// A new program is watched. Packets may have passed unseen for up to `gap`.
        case followed(gap: Duration)
        /// The director's program is on no interface.
        case gone
    }

    private final class Attachment {
        let object: BPFObject
        var links: [BPFDescriptor]

        init(object: BPFObject, links: [BPFDescriptor]) {
            self.object = object
            self.links = links
        }
    }

    /// The indices of the director's interfaces.
    public private(set) var interfaces: [UInt32]

    private let directory: String
    private let filter: CaptureFilter
    private let row: ipvsd_capture_filter
    /// The maps of the first attachment, to which the programs of all later attachments write, too.
    private let shared: [(name: String, descriptor: BPFDescriptor)]
    private let ring: RingBuffer
    private let losses: BPFMap<UInt32, UInt64>
    /// The attachments by the id of the watched program.
    private var attachments: [UInt32: Attachment]
    /// The last time at which all programs were watched.
    private var watched: ContinuousClock.Instant

    private static let function = "director"
    private static let entry = "capture_entry"
    private static let exit = "capture_exit"
    private static let sharedMaps = ["ring", "losses"]
    private static let typeInformation = "/sys/kernel/btf/vmlinux"

    /// Attaches to the programs of the director whose pins are in `directory`.
    public init(directory: String, filter: CaptureFilter) throws {
        silenceLibbpf()
        try Self.requirePrivilege()
        let row = try filter.row(
            serverIsLocal: try filter.server.map {
                try EgressFinder(directory: directory)?.isLocal(try $0.asIPv4()) ?? false
            } ?? false)
        let running = try RunningPrograms(directory: directory)
        var attachments: [UInt32: Attachment] = [:]
        var shared: [(name: String, descriptor: BPFDescriptor)] = []
        for id in running.ids {
            guard let attachment = try Self.attach(to: id, directory: directory, row: row, shared: shared) else {
                continue
            }
            if shared.isEmpty {
                shared = try Self.sharedMaps.map { ($0, try attachment.object.descriptor(ofMap: $0)) }
            }
            attachments[id] = attachment
        }
        guard shared.count == Self.sharedMaps.count else {
            throw CaptureError(.noDirector, "no interface has a director's program")
        }
        self.directory = directory
        self.filter = filter
        self.row = row
        self.shared = shared
        self.attachments = attachments
        interfaces = running.interfaces
        ring = try RingBuffer(shared[0].descriptor)
        losses = try BPFMap(name: shared[1].name, descriptor: shared[1].descriptor)
        watched = .now
    }

    /// Attaches to new programs of the director, and detaches from former ones. A reload or another daemon swaps the
    /// director's programs.
    public func follow() throws -> Change {
        let running = try RunningPrograms(directory: directory)
        var gap: Duration?
        for id in running.ids where attachments[id] == nil {
            guard let attachment = try Self.attach(to: id, directory: directory, row: row, shared: shared) else {
                continue
            }
            attachments[id] = attachment
            gap = watched.duration(to: .now)
        }
        // A program that has left all interfaces may still process a packet, but for less time than the steps above
        // take.
        for id in attachments.keys where !running.ids.contains(id) { attachments[id] = nil }
        guard !running.ids.isEmpty else { return .gone }
        interfaces = running.interfaces
        if running.ids.allSatisfy({ attachments[$0] != nil }) { watched = .now }
        return gap.map { .followed(gap: $0) } ?? .none
    }

    /// Calls `body` for each packet in the ring, until `body` returns false. Waits for the first packet for at most
    /// `milliseconds`. A signal ends the wait.
    public func read(waiting milliseconds: Int32, _ body: (CapturedPacket) -> Bool) throws {
        try ring.read(waiting: milliseconds) { record in
            CapturedPacket(record: record, wants: filter.direction).map(body) ?? true
        }
    }

    /// Detaches the programs. Packets in the ring can still be read.
    public func detach() { attachments = [:] }

    /// Returns the number of packets that have found no room in the ring, by index of the ingress interface.
    public func lost() throws -> [UInt32: UInt64] {
        Dictionary(uniqueKeysWithValues: try losses.entries().map { ($0.key, $0.value) })
    }

    // MARK: Attaching

    /// Attaches to the program with the id. Returns nil if the program or a pin of the director's maps is gone.
    private static func attach(
        to id: UInt32, directory: String, row: ipvsd_capture_filter, shared: [(name: String, descriptor: BPFDescriptor)]
    ) throws -> Attachment? {
        guard let program = try BPFProgram(id: id) else { return nil }
        do throws(BPFError) {
            let object = try BPFObject(.capture)
            try object.setReadOnlyData(row)
            for name in [entry, exit] { try object.setTarget(program, function: function, ofProgram: name) }
            for (name, shared) in [("director_settings", SharedMap.settings), ("director_counters", .counters)] {
                guard let map = try BPFDescriptor(pinnedAt: shared.pin(below: directory)) else { return nil }
                try object.reuse(descriptor: map.number, forMap: name)
            }
            for (name, descriptor) in shared { try object.reuse(descriptor: descriptor.number, forMap: name) }
            try object.load()
            // The exit is attached first, so that each packet seen at the entry is also seen at the exit.
            let atExit = try object.program(named: exit).attachTracing()
            return Attachment(object: object, links: [atExit, try object.program(named: entry).attachTracing()])
        } catch {
            throw refusal(error)
        }
    }

    private static func refusal(_ error: BPFError) -> CaptureError {
        if !File.exists(typeInformation) {
            return CaptureError(
                .kernel,
                "capture needs a kernel that tells its types (CONFIG_DEBUG_INFO_BTF): there is no \(typeInformation)")
        }
        let lockdown = (try? File.read("/sys/kernel/security/lockdown")).map { String(decoding: $0, as: UTF8.self) }
        let isLocked = lockdown?.contains("[confidentiality]") == true
        return CaptureError(
            .kernel,
            "this kernel does not let the director's program be traced, which capture needs (\(error)"
                + (isLocked ? "; it is locked down for confidentiality)" : ")"))
    }

    private static func requirePrivilege() throws(CaptureError) {
        // CAP_BPF and CAP_PERFMON do not suffice to open a program by its id. CAP_SYS_ADMIN includes both.
        let isAdministrator = clinux_effective_capabilities() >> UInt64(CAP_SYS_ADMIN) & 1 == 1
        if !isAdministrator {
            throw CaptureError(
                .noPrivilege, "capture needs CAP_SYS_ADMIN, to find and to trace the director's program (run as root)")
        }
    }
}

/// The error of a capture that cannot begin, with the kind of its cause.
public struct CaptureError: Error, CustomStringConvertible {
    public enum Kind: Sendable {
        /// No director's program is on an interface.
        case noDirector
        case noPrivilege
        /// The kernel does not let programs be traced.
        case kernel
    }

    public let kind: Kind
    public let description: String

    init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }
}
