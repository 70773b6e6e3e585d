internal import CLibBPF
internal import Glibc

/// A BPF object, whose maps and programs are in the kernel after `load()`. A `BPFProgram` of the object keeps it alive.
/// A map's `BPFDescriptor` is a duplicate, and does not depend on it.
public final class BPFObject {
    private let object: OpaquePointer
    private let name: String
    /// The maps by their names in the object file. For a reused map, libbpf has the name of the map in the kernel.
    private let maps: [String: OpaquePointer]
    private let log: UnsafeMutablePointer<CChar>
    /// The size of the verifier's log. Kernels before 6.4 keep its beginning, and fail where the log does not fit.
    /// Memory that is not written to costs nothing.
    private static let logSize = 1 << 24

    public init(_ embedded: EmbeddedObject) throws(BPFError) {
        let bytes = embedded.bytes
        let name = "\(embedded.name)"
        guard let log = calloc(Self.logSize, 1)?.assumingMemoryBound(to: CChar.self) else {
            throw BPFError("open BPF object \(name)", code: ENOMEM)
        }
        var options = bpf_object_open_opts()
        options.sz = size(through: \bpf_object_open_opts.kernel_log_size)
        options.kernel_log_buf = log
        options.kernel_log_size = Self.logSize
        let opened = name.withCString { cName -> OpaquePointer? in
            options.object_name = cName
            return bytes.withUnsafeBytes { bpf_object__open_mem($0.baseAddress, $0.count, &options) }
        }
        guard let opened else {
            let code = errno
            free(log)
            throw BPFError("open BPF object \(name)", code: code)
        }
        self.object = opened
        maps = Self.maps(of: opened)
        self.name = name
        self.log = log
    }

    deinit {
        bpf_object__close(object)
        free(log)
    }

    /// Sets the program's `const volatile` globals. `Value` has the layout of `.rodata`. Has to be called before
    /// `load()`.
    public func setReadOnlyData<Value: BitwiseCopyable>(_ value: Value) throws(BPFError) {
        let map = try handle(ofMap: ".rodata")
        guard bpf_map__value_size(map) == UInt32(MemoryLayout<Value>.size) else {
            throw BPFError("set constants of \(name): \(bpf_map__value_size(map)) bytes of .rodata", code: EINVAL)
        }
        var value = value
        let code = bpf_map__set_initial_value(map, &value, MemoryLayout<Value>.size)
        if code != 0 { throw BPFError("set constants of \(name)", code: -code) }
    }

    /// Pins the map at the path, or reuses a map of the same shape that is pinned there. Has to be called before
    /// `load()`.
    public func setPinPath(_ path: String, ofMap map: String) throws(BPFError) {
        let code = bpf_map__set_pin_path(try handle(ofMap: map), path)
        if code != 0 { throw BPFError("pin map \(map) to \(path)", code: -code) }
    }

    /// Sets the number of entries of a map. Has to be called before `load()`.
    public func setMaxEntries(_ count: Int, ofMap map: String) throws(BPFError) {
        let code = bpf_map__set_max_entries(try handle(ofMap: map), UInt32(count))
        if code != 0 { throw BPFError("size map \(map) for \(count)", code: -code) }
    }

    /// Reuses an existing map. Has to be called before `load()`.
    public func reuse(descriptor: Int32, forMap map: String) throws(BPFError) {
        let code = bpf_map__reuse_fd(try handle(ofMap: map), descriptor)
        if code != 0 { throw BPFError("share map \(map)", code: -code) }
    }

    /// Sets the function of another loaded program before or after which the tracing program runs. Has to be called
    /// before `load()`.
    public func setTarget(_ target: BPFProgram, function: String, ofProgram name: String) throws(BPFError) {
        guard let program = bpf_object__find_program_by_name(object, name) else {
            throw BPFError("find program \(name)", code: ENOENT)
        }
        let code = bpf_program__set_attach_target(program, target.descriptor, function)
        if code != 0 { throw BPFError("find \(function) in the program to be traced", code: -code) }
    }

    /// Returns the descriptor of a map. Requires `load()`.
    public func descriptor(ofMap map: String) throws(BPFError) -> BPFDescriptor {
        try BPFDescriptor(duplicating: bpf_map__fd(try handle(ofMap: map)))
    }

    public func load() throws(BPFError) {
        let code = bpf_object__load(object)
        if code != 0 { throw BPFError("load BPF object \(name)", code: -code, detail: verifierComplaint) }
    }

    /// The last line of the verifier's log before its statistics, which has the error; nil where there is no such line.
    private var verifierComplaint: String? {
        String(cString: log).split(separator: "\n")
            .last { !$0.hasPrefix("processed ") && !$0.hasPrefix("verification time") && !$0.hasPrefix("stack depth") }
            .map(String.init)
    }

    /// Pins a map at a path, beside its other pins or after the loss of its pin. Requires `load()`.
    public func pin(map: String, at path: String) throws(BPFError) {
        if bpf_obj_pin(bpf_map__fd(try handle(ofMap: map)), path) != 0 { throw BPFError("pin \(path)", code: errno) }
    }

    public func program(named name: String) throws(BPFError) -> BPFProgram {
        guard let program = bpf_object__find_program_by_name(object, name) else {
            throw BPFError("find program \(name)", code: ENOENT)
        }
        return BPFProgram(owner: self, descriptor: bpf_program__fd(program))
    }

    private func handle(ofMap map: String) throws(BPFError) -> OpaquePointer {
        // A variable that is a map of its own is in the section .data.NAME, which is then the map's name in `maps`.
        guard let handle = maps[map] ?? maps[".data.\(map)"] else { throw BPFError("find map \(map)", code: ENOENT) }
        return handle
    }

    private static func maps(of object: OpaquePointer) -> [String: OpaquePointer] {
        var maps: [String: OpaquePointer] = [:]
        var map = bpf_object__next_map(object, nil)
        while let handle = map {
            // A map that is a section has the section's name. `bpf_map__name` would put the object's name in front.
            if let name = bpf_map__name(handle).map({ String(cString: $0) }) {
                let section = name.firstIndex(of: ".").map { String(name[$0...]) }
                maps[section ?? name] = handle
            }
            map = bpf_object__next_map(object, handle)
        }
        return maps
    }
}

/// An owned file descriptor.
public final class BPFDescriptor: Sendable {
    public let number: Int32

    public init(owning number: Int32) { self.number = number }

    public init(duplicating number: Int32) throws(BPFError) {
        let copy = fcntl(number, F_DUPFD_CLOEXEC, 3)
        guard copy >= 0 else { throw BPFError("duplicate descriptor", code: errno) }
        self.number = copy
    }

    /// Opens a pin; nil where nothing is pinned.
    public convenience init?(pinnedAt path: String) throws(BPFError) {
        let number = bpf_obj_get(path)
        if number < 0 {
            if errno == ENOENT { return nil }
            throw BPFError("open \(path)", code: errno)
        }
        self.init(owning: number)
    }

    deinit { close(number) }

    /// Returns the number of entries of the descriptor's map.
    public func maxEntries() throws(BPFError) -> Int { Int(try mapInfo().max_entries) }
    func mapID() throws(BPFError) -> UInt32 { try mapInfo().id }
    func valueSize() throws(BPFError) -> Int { Int(try mapInfo().value_size) }
    func mapName() throws(BPFError) -> String {
        withUnsafeBytes(of: try mapInfo().name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    private func mapInfo() throws(BPFError) -> bpf_map_info {
        var info = bpf_map_info()
        var size = UInt32(MemoryLayout<bpf_map_info>.size)
        guard bpf_obj_get_info_by_fd(number, &info, &size) == 0 else { throw BPFError("inspect map", code: errno) }
        return info
    }

    public func pin(at path: String) throws(BPFError) {
        if bpf_obj_pin(number, path) != 0 { throw BPFError("pin \(path)", code: errno) }
    }
}

/// A BPF object file that the build put into the binary as hexadecimal text.
public struct EmbeddedObject: Sendable {
    public let name: StaticString
    private let hex: StaticString

    public init(name: StaticString, hex: StaticString) {
        self.name = name
        self.hex = hex
    }

    /// The object file.
    public var bytes: [UInt8] {
        hex.withUTF8Buffer { digits in
            [UInt8](unsafeUninitializedCapacity: digits.count / 2) { bytes, count in
                for index in 0..<(digits.count / 2) {
                    bytes[index] = value(of: digits[2 * index]) << 4 | value(of: digits[2 * index + 1])
                }
                count = digits.count / 2
            }
        }
    }

    private func value(of digit: UInt8) -> UInt8 { digit < 58 ? digit - 48 : digit - 87 }
}
