internal import Glibc
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// Contexts of NIOSSL, made once for each set of options: reading a system's trust roots takes tens of milliseconds.
final class TLSContexts: Sendable {
    private struct Key: Hashable {
        var verification: TLSOptions.Verification
        var trustRoots: TLSOptions.TrustRoots
        var protocols: [String]
    }

    private let made = NIOLockedValueBox<[Key: NIOSSLContext]>([:])

    func context(
        for options: TLSOptions, protocols: [String], eventLoop: any EventLoop
    ) -> EventLoopFuture<NIOSSLContext> {
        let key = Key(
            verification: options.verification,
            trustRoots: options.verification == .none ? .system : options.trustRoots, protocols: protocols)
        if let context = made.withLockedValue({ $0[key] }) { return eventLoop.makeSucceededFuture(context) }
        return NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) {
            let context = try Self.make(key)
            self.made.withLockedValue { $0[key] = context }
            return context
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
