/// gRPC's framing and what of Protocol Buffers' wire format two messages need.
enum GRPCMessage {
    /// The lowest bits of a field's tag. The field's number is above them.
    private enum WireType: UInt64 {
        case varint = 0
        case eightBytes = 1
        case counted = 2
        case fourBytes = 5

        static let bits: UInt64 = 3
    }

    private static let statusField: UInt64 = 1

    /// Not compressed, and the length in 4 bytes.
    static func framed(_ message: [UInt8]) -> [UInt8] {
        let count = UInt32(message.count)
        return [0] + (0..<4).map { UInt8(truncatingIfNeeded: count >> (24 - 8 * $0)) } + message
    }

    static func varint(_ value: UInt64) -> [UInt8] {
        var rest = value
        var bytes: [UInt8] = []
        while rest > 127 {
            bytes.append(UInt8(rest & 127) | 128)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    /// grpc.health.v1.HealthCheckResponse.ServingStatus; an absent field is UNKNOWN. nil: no such message.
    static func servingStatus(_ message: [UInt8]) -> UInt64? {
        var rest = message[...]
        var status: UInt64 = 0
        while !rest.isEmpty {
            guard let tag = takeVarint(&rest) else { return nil }
            let type = WireType(rawValue: tag & (1 << WireType.bits - 1))
            switch (tag >> WireType.bits, type) {
            case (statusField, .varint):
                guard let value = takeVarint(&rest) else { return nil }
                status = value
            case (_, .varint):
                guard takeVarint(&rest) != nil else { return nil }
            case (_, .eightBytes), (_, .fourBytes):
                let count = type == .eightBytes ? 8 : 4
                guard rest.count >= count else { return nil }
                rest.removeFirst(count)
            case (_, .counted):
                guard let count = takeVarint(&rest), count <= UInt64(rest.count) else { return nil }
                rest.removeFirst(Int(count))
            case (_, nil):
                return nil
            }
        }
        return status
    }

    private static func takeVarint(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard let byte = bytes.popFirst() else { return nil }
            value |= UInt64(byte & 127) << shift
            if byte < 128 { return value }
        }
        return nil
    }
}
