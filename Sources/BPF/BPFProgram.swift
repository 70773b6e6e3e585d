import CLibBPF
import CLinux
import Glibc

/// The mode of an XDP program: in the driver, or behind it in the network stack.
public enum XDPMode: String, Sendable, Codable, CaseIterable {
    case native, generic

    var flags: UInt32 {
        switch self {
        case .native: UInt32(XDP_FLAGS_DRV_MODE)
        case .generic: UInt32(XDP_FLAGS_SKB_MODE)
        }
    }
}

/// A loaded program.
public struct BPFProgram {
    private let owner: AnyObject?
    public let descriptor: Int32

    init(owner: AnyObject?, descriptor: Int32) {
        self.owner = owner
        self.descriptor = descriptor
    }

    /// Opens a pinned program; nil where nothing is pinned.
    public init?(pinnedAt path: String) throws(BPFError) {
        guard let descriptor = try BPFDescriptor(pinnedAt: path) else { return nil }
        self.owner = descriptor
        self.descriptor = descriptor.number
    }

    /// Opens a loaded program, pinned or not; nil where there is none. Needs CAP_SYS_ADMIN.
    public init?(id: UInt32) throws(BPFError) {
        let number = bpf_prog_get_fd_by_id(id)
        if number < 0 {
            if errno == ENOENT { return nil }
            throw BPFError("open program \(id)", code: errno)
        }
        let descriptor = BPFDescriptor(owning: number)
        self.owner = descriptor
        self.descriptor = descriptor.number
    }

    public func pin(at path: String) throws(BPFError) {
        if bpf_obj_pin(descriptor, path) != 0 { throw BPFError("pin \(path)", code: errno) }
    }

    /// Attaches an XDP program. The attachment lives as long as the link or its pin.
    public func attachXDP(interface: Int32, mode: XDPMode) throws(BPFError) -> BPFLink {
        var options = bpf_link_create_opts()
        options.sz = size(through: \bpf_link_create_opts.flags)
        options.flags = mode.flags
        let number = bpf_link_create(descriptor, interface, BPF_XDP, &options)
        guard number >= 0 else { throw BPFError("attach XDP program", code: errno) }
        return BPFLink(descriptor: BPFDescriptor(owning: number))
    }

    /// Attaches a tracing program to its target. The attachment lives as long as the descriptor.
    public func attachTracing() throws(BPFError) -> BPFDescriptor {
        let number = bpf_raw_tracepoint_open(nil, descriptor)
        guard number >= 0 else { throw BPFError("attach tracing program", code: errno) }
        return BPFDescriptor(owning: number)
    }

    public struct TestRun: Equatable {
        /// The program's return value: an XDP_ or TC_ACT_ verdict.
        public var verdict: UInt32
        public var packet: [UInt8]
    }

    /// Runs the program once on a packet (BPF_PROG_TEST_RUN), as if it had come in on `ingress`.
    public func testRun(packet: [UInt8], ingress: UInt32? = nil) throws(BPFError) -> TestRun {
        var output = [UInt8](repeating: 0, count: packet.count + 512)
        var options = bpf_test_run_opts()
        options.sz = size(through: \bpf_test_run_opts.duration)
        options.repeat = 1
        var context = xdp_md()
        context.data_end = UInt32(packet.count)
        context.ingress_ifindex = ingress ?? 0
        let result = packet.withUnsafeBytes { input in
            output.withUnsafeMutableBytes { out in
                withUnsafeMutablePointer(to: &context) { context in
                    options.data_in = input.baseAddress
                    options.data_size_in = UInt32(input.count)
                    options.data_out = out.baseAddress
                    options.data_size_out = UInt32(out.count)
                    if ingress != nil {
                        options.ctx_in = UnsafeRawPointer(context)
                        options.ctx_size_in = UInt32(MemoryLayout<xdp_md>.size)
                    }
                    return bpf_prog_test_run_opts(descriptor, &options) == 0 ? 0 : errno
                }
            }
        }
        if result != 0 { throw BPFError("test run", code: result) }
        return TestRun(verdict: options.retval, packet: Array(output.prefix(Int(options.data_size_out))))
    }

    /// Runs a program of type syscall once (BPF_PROG_TEST_RUN). The context has its arguments, and afterwards its
    /// results.
    public func run<Context: BitwiseCopyable>(on context: inout Context) throws(BPFError) {
        var options = bpf_test_run_opts()
        options.sz = size(through: \bpf_test_run_opts.duration)
        options.ctx_size_in = UInt32(MemoryLayout<Context>.size)
        let result = withUnsafeMutableBytes(of: &context) { bytes in
            options.ctx_in = UnsafeRawPointer(bytes.baseAddress)
            return bpf_prog_test_run_opts(descriptor, &options) == 0 ? 0 : errno
        }
        if result != 0 { throw BPFError("run a program", code: result) }
    }

    public func id() throws(BPFError) -> UInt32 { try info().id }

    /// Returns the program's name in the kernel: the first 15 bytes of the name of its function.
    public func name() throws(BPFError) -> String {
        withUnsafeBytes(of: try info().name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// Whether the program's context is a structure of its caller, as for `run(on:)`, and not a packet.
    public func hasOwnContext() throws(BPFError) -> Bool { try info().type == BPF_PROG_TYPE_SYSCALL.rawValue }

    private func info() throws(BPFError) -> bpf_prog_info {
        var info = bpf_prog_info()
        var size = UInt32(MemoryLayout<bpf_prog_info>.size)
        if bpf_obj_get_info_by_fd(descriptor, &info, &size) != 0 { throw BPFError("inspect a program", code: errno) }
        return info
    }

    /// Returns the ids of the program's maps.
    private func mapIDs() throws(BPFError) -> Set<UInt32> {
        var ids = [UInt32](repeating: 0, count: 64)
        let code = ids.withUnsafeMutableBufferPointer { buffer -> Int32 in
            var info = bpf_prog_info()
            var size = UInt32(MemoryLayout<bpf_prog_info>.size)
            info.nr_map_ids = UInt32(buffer.count)
            info.map_ids = UInt64(UInt(bitPattern: buffer.baseAddress))
            return bpf_obj_get_info_by_fd(descriptor, &info, &size) == 0 ? 0 : errno
        }
        if code != 0 { throw BPFError("inspect a program", code: code) }
        return Set(ids).subtracting([0])
    }

    /// Whether the program uses the map.
    public func uses(map: BPFDescriptor) throws(BPFError) -> Bool { try mapIDs().contains(map.mapID()) }

    /// Returns the map of a section of variables in the object file, such as `.rodata`; nil where the program uses no
    /// such map. Needs CAP_SYS_ADMIN.
    public func map(ofSection section: String) throws(BPFError) -> BPFDescriptor? {
        for id in try mapIDs() {
            let number = bpf_map_get_fd_by_id(id)
            guard number >= 0 else { throw BPFError("open a map of a program", code: errno) }
            let map = BPFDescriptor(owning: number)
            // libbpf may put the object's name in front.
            if try map.mapName().hasSuffix(section) { return map }
        }
        return nil
    }

    /// Returns the `const volatile` globals as loaded: the bytes of `.rodata`, empty where the program has none.
    public func readOnlyData() throws(BPFError) -> [UInt8] {
        guard let map = try map(ofSection: ".rodata") else { return [] }
        var key: UInt32 = 0
        var bytes = [UInt8](repeating: 0, count: try map.valueSize())
        if bpf_map_lookup_elem(map.number, &key, &bytes) != 0 { throw BPFError("read .rodata", code: errno) }
        return bytes
    }

    /// The place of one of the director's tc programs. A program's priority and handle are the same on every interface,
    /// so that a cleanup finds it.
    public struct TrafficControlHook: Sendable, Hashable {
        public enum Direction: String, Sendable, Codable {
            case ingress, egress
            var attachPoint: bpf_tc_attach_point { self == .ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS }
        }
        public var interface: Int32
        public var direction: Direction
        public var priority: UInt32
        public var handle: UInt32

        public init(interface: Int32, direction: Direction, priority: UInt32, handle: UInt32) {
            self.interface = interface
            self.direction = direction
            self.priority = priority
            self.handle = handle
        }

        private var hook: bpf_tc_hook {
            var hook = bpf_tc_hook()
            hook.sz = size(through: \bpf_tc_hook.parent)
            hook.ifindex = interface
            hook.attach_point = direction.attachPoint
            return hook
        }

        /// Creates the clsact qdisc. Returns false where the interface already had one.
        public func createQdisc() throws(BPFError) -> Bool {
            var hook = hook
            let code = bpf_tc_hook_create(&hook)
            if code == -EEXIST { return false }
            if code != 0 { throw BPFError("create clsact qdisc", code: -code) }
            return true
        }

        /// Attaches the program in place of the director's former one.
        public func attach(_ program: BPFProgram) throws(BPFError) {
            var hook = hook
            var options = bpf_tc_opts()
            options.sz = size(through: \bpf_tc_opts.priority)
            options.handle = handle
            options.priority = priority
            options.prog_fd = program.descriptor
            options.flags = UInt32(BPF_TC_F_REPLACE.rawValue)
            let code = bpf_tc_attach(&hook, &options)
            if code != 0 { throw BPFError("attach tc program", code: -code) }
        }

        /// Detaches the filter. Returns false where it was not attached.
        @discardableResult
        public func detach() throws(BPFError) -> Bool {
            var hook = hook
            var options = bpf_tc_opts()
            options.sz = size(through: \bpf_tc_opts.priority)
            options.handle = handle
            options.priority = priority
            let code = bpf_tc_detach(&hook, &options)
            if code == -ENOENT || code == -EINVAL || code == -ENODEV { return false }
            if code != 0 { throw BPFError("detach tc program", code: -code) }
            return true
        }

        /// Removes the clsact qdisc with everything on it. Does nothing where there is none.
        public func destroyQdisc() throws(BPFError) {
            var hook = hook
            hook.attach_point = bpf_tc_attach_point(BPF_TC_INGRESS.rawValue | BPF_TC_EGRESS.rawValue)
            let code = bpf_tc_hook_destroy(&hook)
            if code != 0 && code != -ENOENT && code != -ENODEV {
                throw BPFError("remove clsact qdisc", code: -code)
            }
        }
    }
}

/// An attachment of an XDP program.
public struct BPFLink {
    private let descriptor: BPFDescriptor

    init(descriptor: BPFDescriptor) { self.descriptor = descriptor }

    public init?(pinnedAt path: String) throws(BPFError) {
        guard let descriptor = try BPFDescriptor(pinnedAt: path) else { return nil }
        self.descriptor = descriptor
    }

    public func pin(at path: String) throws(BPFError) { try descriptor.pin(at: path) }

    /// Replaces the program by another one. Every packet passes either the old one or the new one.
    public func update(to program: BPFProgram) throws(BPFError) {
        if bpf_link_update(descriptor.number, program.descriptor, nil) != 0 {
            throw BPFError("update XDP link", code: errno)
        }
    }

    /// Detaches the program at once. Dropping the last reference would detach it later, from a work queue
    /// (`bpf_link_put`).
    public func detach() throws(BPFError) {
        if bpf_link_detach(descriptor.number) != 0 { throw BPFError("detach XDP link", code: errno) }
    }

    /// Returns the interface's index; 0 once the device is gone.
    public func interface() throws(BPFError) -> UInt32 { try info().xdp.ifindex }

    public func programID() throws(BPFError) -> UInt32 { try info().prog_id }

    private func info() throws(BPFError) -> bpf_link_info {
        var info = bpf_link_info()
        var size = UInt32(MemoryLayout<bpf_link_info>.size)
        guard bpf_obj_get_info_by_fd(descriptor.number, &info, &size) == 0 else {
            throw BPFError("inspect XDP link", code: errno)
        }
        return info
    }
}

/// The program on an interface's XDP hook.
public struct XDPAttachment: Sendable {
    public var programID: UInt32
    public var mode: XDPMode

    /// Reads the hook; nil where nothing is attached.
    public static func of(interface: Int32) throws(BPFError) -> XDPAttachment? {
        var options = bpf_xdp_query_opts()
        options.sz = size(through: \bpf_xdp_query_opts.attach_mode)
        let code = bpf_xdp_query(interface, 0, &options)
        if code != 0 { throw BPFError("query XDP", code: -code) }
        if options.prog_id == 0 { return nil }
        return XDPAttachment(
            programID: options.prog_id, mode: options.attach_mode == UInt8(XDP_ATTACHED_SKB) ? .generic : .native)
    }
}
