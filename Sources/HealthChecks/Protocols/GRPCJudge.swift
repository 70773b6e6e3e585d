/// The judge of the response of grpc.health.v1.Health/Check.
struct GRPCJudge: HTTPJudge {
    private(set) var stage = CheckStage.headers
    private let service: String
    private var received: [UInt8] = []

    private static let largest = 4096

    init(service: String) { self.service = service }

    mutating func receive(_ event: HTTPEvent) -> HTTPStep {
        switch event {
        case .head(let status, let fields):
            guard (200...).contains(status) else { return .wait }
            guard status == 200 else { return .end(.failed("status \(status), expected 200")) }
            // A "Trailers-Only" response: an error comes in one block.
            if let code = fields.first(name: "grpc-status") { return .end(conclude(code: code, fields: fields)) }
            guard let type = fields.first(name: "content-type"), type.hasPrefix("application/grpc") else {
                let type = fields.first(name: "content-type") ?? "none"
                return .end(.failed("content-type \(type), expected application/grpc"))
            }
            stage = .body
            return .wait
        case .body(let bytes):
            received += bytes
            guard received.count <= Self.largest else {
                return .end(.failed("body: a message of more than \(Self.largest) bytes"))
            }
            if message != nil { stage = .trailers }
            return .wait
        case .trailers(let fields):
            guard let code = fields.first(name: "grpc-status") else {
                return .end(.failed("trailers: no grpc-status"))
            }
            return .end(conclude(code: code, fields: fields))
        case .end:
            return .end(.failed("trailers: none, expected grpc-status"))
        }
    }

    /// The first complete message, or nil.
    private var message: [UInt8]? {
        guard received.count >= 5 else { return nil }
        let length = received[1..<5].reduce(0) { $0 << 8 | Int($1) }
        return received.count >= 5 + length ? Array(received[5..<5 + length]) : nil
    }

    private func conclude(code: String, fields: [HTTPCheck.Field]) -> Outcome {
        guard code == "0" else {
            let name = Int(code).flatMap { Self.codes[$0] }.map { " \($0)" } ?? ""
            let message = fields.first(name: "grpc-message") ?? ""
            let said = message.isEmpty ? "" : ": \(message.prefix(80))"
            return .failed("grpc-status \(code)\(name)\(said)")
        }
        guard let message, received[0] == 0, let status = GRPCMessage.servingStatus(message) else {
            return .failed("body: no HealthCheckResponse")
        }
        let subject = service.isEmpty ? "the server" : "service \(service)"
        let names = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
        let name = status < UInt64(names.count) ? names[Int(status)] : "status \(status)"
        return status == 1 ? .passed : .failed("\(subject) is \(name), expected SERVING")
    }

    /// The names of the status codes that a health service may return.
    private static let codes = [
        1: "CANCELLED", 2: "UNKNOWN", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 7: "PERMISSION_DENIED",
        8: "RESOURCE_EXHAUSTED", 12: "UNIMPLEMENTED", 13: "INTERNAL", 14: "UNAVAILABLE", 16: "UNAUTHENTICATED",
    ]
}

/// The framing of gRPC, and the part of the Protocol Buffers wire format that both health messages need.
enum GRPCMessage {
    /// The wire type in the low bits of a field's tag. The field's number is above it.
    private enum WireType: UInt64 {
        case varint = 0
        case eightBytes = 1
        case counted = 2
        case fourBytes = 5

        static let bits: UInt64 = 3
    }

    private static let statusField: UInt64 = 1

    /// Returns the message behind its prefix: the flag for no compression, and the length in 4 bytes, big-endian.
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

    /// Returns the grpc.health.v1.HealthCheckResponse.ServingStatus of a message. An absent field is UNKNOWN (0). Nil
    /// if the message is malformed.
    static func servingStatus(_ message: [UInt8]) -> UInt64? {
        var rest = message[...]
        var status: UInt64 = 0
        while !rest.isEmpty {
            guard let tag = readVarint(&rest) else { return nil }
            let type = WireType(rawValue: tag & (1 << WireType.bits - 1))
            switch (tag >> WireType.bits, type) {
            case (statusField, .varint):
                guard let value = readVarint(&rest) else { return nil }
                status = value
            case (_, .varint):
                guard readVarint(&rest) != nil else { return nil }
            case (_, .eightBytes), (_, .fourBytes):
                let count = type == .eightBytes ? 8 : 4
                guard rest.count >= count else { return nil }
                rest.removeFirst(count)
            case (_, .counted):
                guard let count = readVarint(&rest), count <= UInt64(rest.count) else { return nil }
                rest.removeFirst(Int(count))
            case (_, nil):
                return nil
            }
        }
        return status
    }

    private static func readVarint(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard let byte = bytes.popFirst() else { return nil }
            value |= UInt64(byte & 127) << shift
            if byte < 128 { return value }
        }
        return nil
    }
}
