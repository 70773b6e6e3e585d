internal import Addresses
internal import CLibMNL
internal import SystemCalls

/// Writes one netlink message: `nlmsghdr`, the family's own header, attributes (`nlattr`, padded to 4 bytes). Integers
/// are in host byte order unless a method says otherwise; addresses go in as on the wire.
struct MessageBuilder: Sendable, Equatable {
    private(set) var bytes: [UInt8]

    /// `type`: RTM_*. `flags`: NLM_F_* besides NLM_F_REQUEST.
    init(_ type: Int, flags: Int32 = 0) {
        bytes = []
        append(
            nlmsghdr(
                nlmsg_len: UInt32(MemoryLayout<nlmsghdr>.size), nlmsg_type: UInt16(type),
                nlmsg_flags: UInt16(NLM_F_REQUEST | flags), nlmsg_seq: 0, nlmsg_pid: 0))
    }

    /// A fixed structure, `ifinfomsg` or the like: after the header, or as the start of a nested attribute.
    mutating func append<Structure: BitwiseCopyable>(_ structure: Structure) {
        withUnsafeBytes(of: structure) { bytes.append(contentsOf: $0) }
        finishAttribute()
    }

    mutating func attribute(_ type: some AttributeType, _ payload: [UInt8]) {
        append(nlattr(nla_len: UInt16(MemoryLayout<nlattr>.size + payload.count), nla_type: UInt16(type.number)))
        bytes.append(contentsOf: payload)
        finishAttribute()
    }

    mutating func attribute<Value: FixedWidthInteger & BitwiseCopyable>(_ type: some AttributeType, _ value: Value) {
        attribute(type, withUnsafeBytes(of: value) { Array($0) })
    }

    mutating func attribute(_ type: some AttributeType, _ address: IPAddress) { attribute(type, address.bytes) }

    /// NUL-terminated.
    mutating func attribute(_ type: some AttributeType, _ string: String) { attribute(type, Array(string.utf8) + [0]) }

    /// An attribute whose payload `content` writes.
    mutating func nest(_ type: some AttributeType, _ content: (inout MessageBuilder) -> Void) {
        let start = bytes.count
        attribute(type, [UInt8]())
        content(&self)
        store(UInt16(bytes.count - start), at: start)
    }

    /// The finished message: `nlmsg_seq` as given, `nlmsg_pid` 0, which the kernel reads as the sender's own.
    func finished(sequence: UInt32, flags: Int32 = 0) -> [UInt8] {
        var copy = self
        copy.store(UInt32(bytes.count), at: MemoryLayout<nlmsghdr>.offset(ofStored: \.nlmsg_len))
        copy.store(sequence, at: MemoryLayout<nlmsghdr>.offset(ofStored: \.nlmsg_seq))
        let offset = MemoryLayout<nlmsghdr>.offset(ofStored: \.nlmsg_flags)
        let own = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt16.self) }
        copy.store(own | UInt16(flags), at: offset)
        return copy.bytes
    }

    private mutating func finishAttribute() {
        while !bytes.count.isMultiple(of: 4) { bytes.append(0) }
    }

    private mutating func store<Value: BitwiseCopyable>(_ value: Value, at offset: Int) {
        bytes.withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: offset, as: Value.self) }
    }
}
