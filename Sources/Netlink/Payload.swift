internal import Addresses
internal import CLibMNL

/// Received bytes, read with bounds: a value that is cut short is nil.
struct Payload {
    let bytes: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    func dropFirst(_ count: Int) -> Payload { Payload(bytes.dropFirst((count + 3) & ~3)) }

    /// A structure at the front; alignment does not matter.
    func structure<Structure: BitwiseCopyable>(_: Structure.Type) -> Structure? {
        guard bytes.count >= MemoryLayout<Structure>.size else { return nil }
        return bytes.withUnsafeBytes { $0.loadUnaligned(as: Structure.self) }
    }

    /// Host byte order.
    var u16: UInt16? { structure(UInt16.self) }
    /// Host byte order.
    var u32: UInt32? { structure(UInt32.self) }
    /// Host byte order, as interface indices are.
    var i32: Int32? { structure(Int32.self) }
    var address: IPAddress? { IPAddress(bytes: bytes) }
    var macAddress: MACAddress? { MACAddress(Array(bytes)) }
    /// Up to the NUL, which some senders leave out.
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
