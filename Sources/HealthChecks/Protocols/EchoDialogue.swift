internal import NIOCore

/// An echo request and its reply.
struct EchoDialogue: DatagramDialogue {
    let echo: EchoRequest

    var datagram: [UInt8] { echo.bytes }

    func judge(_ bytes: [UInt8]) -> Outcome? { echo.isAnswered(by: ByteBuffer(bytes: bytes)) ? .passed : nil }
}
