internal import Glibc
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOSSL

/// Contexts of NIOSSL, made once for each set of options: reading a system's trust roots takes tens of milliseconds.
final class TLSContexts: Sendable {
    private struct Key: Hashable {
        var verification: TLSOptions.Verification
        var trustRoots: TLSOptions.TrustRoots
        var protocols: [String]
    }

    private static let threads = WorkThreads<Key>(limit: 64)

    private let made = NIOLockedValueBox<[Key: NIOSSLContext]>([:])

    /// The completion is called on the check's event loop. What has no context by the deadline was not asked.
    func context(
        for options: TLSOptions, protocols: [String], progress: CheckProgress,
        completion: @escaping @Sendable (CheckProgress, Result<NIOSSLContext, any Error>) -> Void
    ) {
        let key = Key(
            verification: options.verification,
            trustRoots: options.verification == .none ? .system : options.trustRoots, protocols: protocols)
        if let context = made.withLockedValue({ $0[key] }) { return completion(progress, .success(context)) }
        progress.run(on: Self.threads, key, lack: "trust roots were not read in time") {
            Result {
                // Another check may have waited for the same.
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
