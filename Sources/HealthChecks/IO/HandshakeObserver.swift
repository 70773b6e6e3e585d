internal import Glibc
internal import NIOCore
internal import NIOSSL
internal import NIOTLS

/// Looks at what a TLS handshake brought, then lets the check go on.
final class HandshakeObserver: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let progress: CheckProgress
    private let options: TLSOptions
    private let stageOnceReady: CheckStage
    /// By ALPN; nil: any.
    private let requiredProtocol: String?

    init(progress: CheckProgress, options: TLSOptions, stageOnceReady: CheckStage, requiredProtocol: String?) {
        self.progress = progress
        self.options = options
        self.stageOnceReady = stageOnceReady
        self.requiredProtocol = requiredProtocol
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        context.fireUserInboundEventTriggered(event)
        guard case .handshakeCompleted(let negotiated)? = event as? TLSUserEvent else { return }
        if let minimum = options.minimumValidity {
            progress.stage = .certificate
            guard let certificate = try? context.pipeline.syncOperations.nioSSL_peerCertificate() else {
                return progress.fail("certificate: the server sent none")
            }
            let validity = CertificateValidity(from: certificate.notValidBefore, until: certificate.notValidAfter)
            let outcome = validity.judge(now: time(nil), atLeast: minimum)
            guard outcome == .passed else { return progress.end(outcome) }
        }
        if let requiredProtocol, negotiated != requiredProtocol {
            return progress.fail("TLS handshake: the server does not offer \(requiredProtocol) by ALPN")
        }
        progress.stage = stageOnceReady
        context.fireUserInboundEventTriggered(PeerIsReady())
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { progress.fail(by: error) }
}
