internal import Addresses
internal import CLibMNL
import Glibc
internal import SystemCalls

/// A received netlink message: `nlmsghdr` and its payload.
struct Message {
    let type: Int
    let flags: Int32
    let sequence: UInt32
    let port: UInt32
    /// The bytes behind `nlmsghdr`.
    let payload: Payload

    /// Returns the messages of one datagram, up to the first message whose length is invalid.
    static func split(_ datagram: [UInt8]) -> [Message] {
        var messages: [Message] = []
        var rest = datagram[...]
        while let header = Payload(rest).structure(nlmsghdr.self) {
            let length = Int(header.nlmsg_len)
            guard length >= MemoryLayout<nlmsghdr>.size, length <= rest.count else { break }
            messages.append(
                Message(
                    type: Int(header.nlmsg_type), flags: Int32(header.nlmsg_flags), sequence: header.nlmsg_seq,
                    port: header.nlmsg_pid,
                    payload: Payload(rest.prefix(length).dropFirst(MemoryLayout<nlmsghdr>.size))))
            rest = rest.dropFirst((length + 3) & ~3)
        }
        return messages
    }

    /// Returns the family's fixed header and the attributes behind it. Nil: the message is too short.
    func body<Header: BitwiseCopyable>(_: Header.Type) -> (header: Header, attributes: Attributes)? {
        guard let header = payload.structure(Header.self) else { return nil }
        return (header, Attributes(payload.dropFirst(MemoryLayout<Header>.size)))
    }

    /// The result in an acknowledgement (NLMSG_ERROR) or at the end of a dump (NLMSG_DONE): an errno, 0 for success,
    /// and the kernel's extended message. Nil for other messages.
    var outcome: (code: Int32, detail: String?)? {
        guard type == NLMSG_ERROR || type == NLMSG_DONE else { return nil }
        let code = -(payload.structure(Int32.self) ?? 0)
        guard flags & NLM_F_ACK_TLVS != 0 else { return (code, nil) }
        var attributes = payload.dropFirst(MemoryLayout<Int32>.size)
        if type == NLMSG_ERROR, let request = attributes.structure(nlmsghdr.self) {
            // The message quotes the request: its header alone if NLM_F_CAPPED is set, else the whole request.
            let quoted = flags & NLM_F_CAPPED != 0 ? MemoryLayout<nlmsghdr>.size : Int(request.nlmsg_len)
            attributes = attributes.dropFirst((quoted + 3) & ~3)
        }
        return (code, Attributes(attributes)[NLMSGERR_ATTR_MSG]?.string)
    }
}

/// A netlink message that is being written: `nlmsghdr`, the family's header, and attributes (`nlattr`, padded to 4
/// bytes). Integers are in host byte order, IP addresses in network byte order.
struct MessageBuilder: Sendable, Equatable {
    private(set) var bytes: [UInt8]

    /// Begins a message of a type (RTM_*). `flags` (NLM_F_*) are added to NLM_F_REQUEST.
    init(_ type: Int, flags: Int32 = 0) {
        bytes = []
        append(
            nlmsghdr(
                nlmsg_len: UInt32(MemoryLayout<nlmsghdr>.size), nlmsg_type: UInt16(type),
                nlmsg_flags: UInt16(NLM_F_REQUEST | flags), nlmsg_seq: 0, nlmsg_pid: 0))
    }

    /// Appends a fixed structure such as `ifinfomsg`, behind `nlmsghdr` or at the start of a nested attribute.
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

    /// Appends an attribute with a NUL-terminated string.
    mutating func attribute(_ type: some AttributeType, _ string: String) { attribute(type, Array(string.utf8) + [0]) }

    /// Appends an attribute whose payload `content` writes.
    mutating func nest(_ type: some AttributeType, _ content: (inout MessageBuilder) -> Void) {
        let start = bytes.count
        attribute(type, [UInt8]())
        content(&self)
        store(UInt16(bytes.count - start), at: start)
    }

    /// Returns the message with its length, its sequence number and further `flags`. `nlmsg_pid` is 0, so that the
    /// kernel fills in the sender's port id.
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

/// Received bytes. A value that is cut short is nil.
struct Payload {
    let bytes: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    /// Returns the bytes behind the first `count`, rounded up to a multiple of 4.
    func dropFirst(_ count: Int) -> Payload { Payload(bytes.dropFirst((count + 3) & ~3)) }

    /// Returns the structure at the beginning, which need not be aligned.
    func structure<Structure: BitwiseCopyable>(_: Structure.Type) -> Structure? {
        guard bytes.count >= MemoryLayout<Structure>.size else { return nil }
        return bytes.withUnsafeBytes { $0.loadUnaligned(as: Structure.self) }
    }

    /// The first two bytes, in host byte order.
    var u16: UInt16? { structure(UInt16.self) }
    /// The first four bytes, in host byte order.
    var u32: UInt32? { structure(UInt32.self) }
    /// The first four bytes, in host byte order, such as an interface index.
    var i32: Int32? { structure(Int32.self) }
    var address: IPAddress? { IPAddress(bytes: bytes) }
    var macAddress: MACAddress? { MACAddress(Array(bytes)) }
    /// The text up to the NUL. Some senders omit the NUL.
    var string: String { String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }
    var nested: Attributes { Attributes(self) }
}

/// The attributes (`nlattr`) of a message or of a nested attribute.
struct Attributes: Sequence, IteratorProtocol {
    private var rest: ArraySlice<UInt8>

    init(_ payload: Payload) { rest = payload.bytes }

    mutating func next() -> (type: Int, payload: Payload)? {
        let headerSize = MemoryLayout<nlattr>.size
        guard let header = Payload(rest).structure(nlattr.self) else { return nil }
        let length = Int(header.nla_len)
        guard length >= headerSize, length <= rest.count else { return nil }
        let payload = Payload(rest.prefix(length).dropFirst(headerSize))
        rest = rest.dropFirst((length + 3) & ~3)
        // NLA_F_NESTED and NLA_F_NET_BYTEORDER are the upper two bits of the type.
        return (Int(header.nla_type & 0x3FFF), payload)
    }

    subscript(type: some AttributeType) -> Payload? { first { $0.type == type.number }?.payload }
}

/// An attribute's type. The kernel's headers define most types in anonymous enumerations, which are imported as `Int`,
/// and some types in named enumerations.
protocol AttributeType {
    var number: Int { get }
}

extension Int: AttributeType {
    var number: Int { self }
}

extension rtattr_type_t: AttributeType {
    var number: Int { Int(rawValue) }
}

extension nlmsgerr_attrs: AttributeType {
    var number: Int { Int(rawValue) }
}

/// Addresses in netlink messages.
extension IPAddress {
    /// The family in messages: AF_INET or AF_INET6.
    var addressFamily: UInt8 {
        switch self {
        case .v4: UInt8(AF_INET)
        case .v6: UInt8(AF_INET6)
        }
    }

    init?(family: UInt8, _ payload: Payload) {
        guard let address = payload.address, address.addressFamily == family else { return nil }
        self = address
    }

    /// Reads RTA_VIA (`rtvia`): the family in host byte order, then the address.
    init?(via payload: Payload) {
        guard let family = payload.u16.flatMap(UInt8.init(exactly:)) else { return nil }
        self.init(family: family, Payload(payload.bytes.dropFirst(MemoryLayout<UInt16>.size)))
    }
}
