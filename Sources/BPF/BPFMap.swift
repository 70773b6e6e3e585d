import CLibBPF
import Glibc
import SystemCalls

/// A typed view of a map. `Key` and `Value` have the layout of the shared header. For a per-CPU map, `Value` is the
/// value of one CPU.
public struct BPFMap<Key: BitwiseCopyable, Value: BitwiseCopyable>: Sendable {
    public let name: String
    public let descriptor: BPFDescriptor
    public let maxEntries: Int
    public let id: UInt32
    private let isPerCPU: Bool

    public init(name: String, descriptor: BPFDescriptor) throws(BPFError) {
        var info = bpf_map_info()
        var size = UInt32(MemoryLayout<bpf_map_info>.size)
        guard bpf_obj_get_info_by_fd(descriptor.number, &info, &size) == 0 else {
            throw BPFError("inspect map \(name)", code: errno)
        }
        guard info.key_size == UInt32(MemoryLayout<Key>.size), info.value_size == UInt32(MemoryLayout<Value>.stride)
        else {
            throw BPFError(
                "use map \(name): keys of \(info.key_size) and values of \(info.value_size) bytes", code: EINVAL)
        }
        self.name = name
        self.descriptor = descriptor
        self.maxEntries = Int(info.max_entries)
        self.id = info.id
        self.isPerCPU =
            info.type == BPF_MAP_TYPE_PERCPU_ARRAY.rawValue || info.type == BPF_MAP_TYPE_PERCPU_HASH.rawValue
    }

    /// Opens a pinned map; nil where nothing is pinned.
    public init?(name: String, pinnedAt path: String) throws(BPFError) {
        guard let descriptor = try BPFDescriptor(pinnedAt: path) else { return nil }
        self = try BPFMap(name: name, descriptor: descriptor)
    }

    public func update(_ value: Value, for key: Key) throws(BPFError) {
        precondition(!isPerCPU, "\(name) has a value per CPU")
        var key = key
        var value = value
        if bpf_map_update_elem(descriptor.number, &key, &value, UInt64(BPF_ANY)) != 0 {
            throw BPFError("update map \(name)", code: errno)
        }
    }

    /// Inserts a value. Returns false where the key already has one, which it keeps.
    public func insert(_ value: Value, for key: Key) throws(BPFError) -> Bool {
        precondition(!isPerCPU, "\(name) has a value per CPU")
        var key = key
        var value = value
        if bpf_map_update_elem(descriptor.number, &key, &value, UInt64(BPF_NOEXIST)) == 0 { return true }
        if errno == EEXIST { return false }
        throw BPFError("insert into map \(name)", code: errno)
    }

    /// Removes a key. Returns whether it was present.
    @discardableResult
    public func remove(_ key: Key) throws(BPFError) -> Bool {
        var key = key
        if bpf_map_delete_elem(descriptor.number, &key) == 0 { return true }
        if errno == ENOENT { return false }
        throw BPFError("delete from map \(name)", code: errno)
    }

    /// Returns the values of all CPUs, one where the map is not per CPU, and none where the key is absent.
    public func values(for key: Key) throws(BPFError) -> [Value] {
        let count = isPerCPU ? Int(libbpf_num_possible_cpus()) : 1
        let stride = (MemoryLayout<Value>.stride + 7) / 8 * 8
        var key = key
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count * stride, alignment: 8)
        defer { buffer.deallocate() }
        if bpf_map_lookup_elem(descriptor.number, &key, buffer.baseAddress) != 0 {
            if errno == ENOENT { return [] }
            throw BPFError("look up in map \(name)", code: errno)
        }
        return (0..<count).map { buffer.load(fromByteOffset: $0 * stride, as: Value.self) }
    }

    public func value(for key: Key) throws(BPFError) -> Value? { try values(for: key).first }

    /// Returns all keys. Concurrent changes may be missed. After a concurrent removal, keys of a hash map may come
    /// twice.
    public func keys() throws(BPFError) -> [Key] {
        var keys: [Key] = []
        withUnsafeTemporaryAllocation(of: Key.self, capacity: 1) { next in
            next.withMemoryRebound(to: UInt8.self) { $0.update(repeating: 0) }
            guard let slot = next.baseAddress, bpf_map_get_next_key(descriptor.number, nil, slot) == 0 else { return }
            repeat {
                keys.append(slot.pointee)
            } while keys.count < maxEntries && bpf_map_get_next_key(descriptor.number, slot, slot) == 0
        }
        return keys
    }

    /// Returns all entries of a hash map, thousands in a call (BPF_MAP_LOOKUP_BATCH). Concurrent changes may be missed.
    public func entries() throws(BPFError) -> [(key: Key, value: Value)] {
        precondition(!isPerCPU, "\(name) has a value per CPU")
        var entries: [(key: Key, value: Value)] = []
        var room = 4096
        /// The kernel's position, at which the next batch begins.
        var position: UInt32?
        while true {
            let batch = try self.batch(after: position, room: room)
            entries += batch.entries
            position = batch.next
            // The batch had no room for all entries of a bucket.
            if batch.entries.isEmpty, !batch.isLast { room *= 2 }
            if batch.isLast { return entries }
        }
    }

    /// Returns up to `room` entries of a hash map, and the position of the next batch. `position` is the `next` of the
    /// batch before; nil: the first batch. The batch is empty and not the last where a bucket holds more than `room`
    /// entries.
    public func batch(
        after position: UInt32?, room: Int
    ) throws(BPFError) -> (entries: [(key: Key, value: Value)], next: UInt32?, isLast: Bool) {
        let keys = UnsafeMutablePointer<Key>.allocate(capacity: room)
        let values = UnsafeMutablePointer<Value>.allocate(capacity: room)
        defer {
            keys.deallocate()
            values.deallocate()
        }
        var from = position ?? 0
        var next: UInt32 = 0
        var count = UInt32(room)
        let code = withUnsafeMutablePointer(to: &from) { from in
            bpf_map_lookup_batch(descriptor.number, position == nil ? nil : from, &next, keys, values, &count, nil)
        }
        let reason = errno
        if code != 0, reason == ENOSPC { return ([], position, false) }
        guard code == 0 || reason == ENOENT else { throw BPFError("read map \(name)", code: reason) }
        return ((0..<Int(count)).map { (keys[$0], values[$0]) }, next, code != 0)
    }

    /// Maps an array map's memory (BPF_F_MMAPABLE).
    public func memory(writable: Bool) throws(BPFError) -> MappedArray<Value> {
        try MappedArray(name: name, descriptor: descriptor, count: maxEntries, writable: writable)
    }
}

/// The memory of a BPF array map, shared with the packet programs. Packets may change an element during an access, so
/// only loads and stores of single aligned words are whole.
public final class MappedArray<Value: BitwiseCopyable>: @unchecked Sendable {
    public let count: Int
    /// The kernel's distance of two elements: the size of a value, rounded up to 8 bytes.
    public let stride = (MemoryLayout<Value>.size + 7) / 8 * 8
    private let base: UnsafeMutableRawPointer
    private let length: Int

    init(name: String, descriptor: BPFDescriptor, count: Int, writable: Bool) throws(BPFError) {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let length = (count * stride + page - 1) / page * page
        let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
        guard let base = mmap(nil, length, protection, MAP_SHARED, descriptor.number, 0), base != MAP_FAILED else {
            throw BPFError("map the memory of \(name)", code: errno)
        }
        self.base = base
        self.length = length
        self.count = count
    }

    deinit { munmap(base, length) }

    public func pointer(_ index: Int) -> UnsafeMutableRawPointer {
        precondition(index >= 0 && index < count, "index \(index) of \(count)")
        return base + index * stride
    }

    /// Returns a pointer to a field of an element. For an array field, it points to the first element.
    public func field<Field, Element>(
        _ field: KeyPath<Value, Field>, of index: Int = 0, as type: Element.Type
    ) -> UnsafeMutablePointer<Element> {
        (pointer(index) + MemoryLayout<Value>.offset(ofStored: field)).assumingMemoryBound(to: type)
    }

    public func field<Field>(_ field: KeyPath<Value, Field>, of index: Int = 0) -> UnsafeMutablePointer<Field> {
        self.field(field, of: index, as: Field.self)
    }

    public subscript(index: Int) -> Value {
        get { pointer(index).load(as: Value.self) }
        set { pointer(index).storeBytes(of: newValue, as: Value.self) }
    }
}

extension BPFMap {
    /// Zeroes the key's value, on every CPU.
    public func clear(_ key: Key) throws(BPFError) {
        let count = isPerCPU ? Int(libbpf_num_possible_cpus()) : 1
        let zeros = [UInt8](repeating: 0, count: count * ((MemoryLayout<Value>.stride + 7) / 8 * 8))
        var key = key
        if bpf_map_update_elem(descriptor.number, &key, zeros, UInt64(BPF_ANY)) != 0 {
            throw BPFError("clear in map \(name)", code: errno)
        }
    }
}
