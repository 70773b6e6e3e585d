internal import Glibc
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOSSL
internal import NIOTLS

/// The contexts of NIOSSL, one for each set of options. They are kept, as the reading of a system's trust roots takes
/// tens of milliseconds.
final class TLSContexts: Sendable {
    private struct Key: Hashable {
        var verification: TLSOptions.Verification
        var trustRoots: TLSOptions.TrustRoots
        var protocols: [String]
    }

    private static let threads = WorkThreads<Key>(limit: 64)

    private let made = NIOLockedValueBox<[Key: NIOSSLContext]>([:])

    /// Finds or creates a context. `completion` is called on the check's event loop. If there is no context by the
    /// deadline, the check fails, and the cause is this machine.
    func context(
        for options: TLSOptions, protocols: [String], progress: CheckProgress,
        completion: @escaping @Sendable (CheckProgress, Result<NIOSSLContext, any Error>) -> Void
    ) {
        let key = Key(
            verification: options.verification,
            trustRoots: options.verification == .none ? .system : options.trustRoots, protocols: protocols)
        if let context = made.withLockedValue({ $0[key] }) { return completion(progress, .success(context)) }
        progress.run(on: Self.threads, key, shortage: "trust roots were not read in time") {
            Result {
                // Another check may have created the context meanwhile.
                if let context = self.made.withLockedValue({ $0[key] }) { return context }
                let context = try Self.make(key)
                self.made.withLockedValue { $0[key] = context }
                return context
            }
        } completion: { progress, result in
            completion(progress, result)
        }
    }

    private static func make(_ key: Key) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification =
            switch key.verification {
            case .none: .none
            case .chain: .noHostnameVerification
            case .full: .fullVerification
            }
        if case .file(let path) = key.trustRoots {
            do {
                configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(path))
            } catch {
                let reason = access(path, R_OK) == 0 ? "no certificates in PEM" : String(cString: strerror(errno))
                throw InvalidCheck("read trust roots from \(path): \(reason)")
            }
        }
        configuration.applicationProtocols = key.protocols
        return try NIOSSLContext(configuration: configuration)
    }
}

/// The handler that checks the certificate and the protocol after a TLS handshake, and then lets the check continue.
final class HandshakeObserver: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let progress: CheckProgress
    private let options: TLSOptions
    private let stageOnceReady: CheckStage
    /// The protocol that ALPN must negotiate, or nil for any.
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

/// The validity period of a certificate, in seconds since 1970.
struct CertificateValidity: Hashable {
    var from: Int
    var until: Int

    func judge(now: Int, atLeast minimum: Duration) -> Outcome {
        if now < from { return .failed("certificate is not valid before \(Self.text(from - now)) from now") }
        if now > until { return .failed("certificate expired \(Self.text(now - until)) ago") }
        guard until - now >= Int(minimum.components.seconds) else {
            return .failed(
                "certificate expires in \(Self.text(until - now)), "
                    + "expected \(Self.text(Int(minimum.components.seconds))) at least")
        }
        return .passed
    }

    private static func text(_ seconds: Int) -> String {
        let (count, unit) =
            switch seconds {
            case 172_800...: (seconds / 86_400, "day")
            case 7_200...: (seconds / 3_600, "hour")
            case 120...: (seconds / 60, "minute")
            default: (seconds, "second")
            }
        return "\(count) \(unit)\(count == 1 ? "" : "s")"
    }
}
