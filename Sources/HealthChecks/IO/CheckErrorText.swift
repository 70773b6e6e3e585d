internal import Glibc
internal import NIOCore
internal import NIOHTTP2
internal import NIOPosix
internal import NIOSSL

/// The texts of the libraries' errors, in an operator's words.
enum CheckErrorText {
    static let closed = "connection closed by the server"

    static func text(_ error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            return error.connectionErrors.first.map { text($0.error) } ?? "no connection"
        case let error as IOError:
            return String(cString: strerror(error.errnoCode))
        case NIOSSLError.handshakeFailed(let error):
            return text(error)
        case let error as BoringSSLError:
            return text(error)
        case NIOSSLError.uncleanShutdown:
            return "connection closed by the server without a close_notify"
        case NIOSSLError.unableToValidateCertificate, NIOSSLError.noCertificateToValidate:
            return "the certificate is not trusted"
        case let error as NIOSSLExtraError where error == .failedToValidateHostname:
            return "the certificate names neither the server nor its address"
        case let error as NIOSSLExtraError:
            return error.description
        case let error as NIOHTTP2Errors.StreamClosed:
            return "stream reset by the server (\(error.errorCode))"
        case ChannelError.ioOnClosedChannel, ChannelError.alreadyClosed, ChannelError.inputClosed, ChannelError.eof:
            return closed
        default:
            return "\(error)"
        }
    }

    private static func text(_ error: BoringSSLError) -> String {
        guard case .sslError(let stack) = error, let first = stack.first else { return "\(error)" }
        if stack.contains(.eofDuringHandshake) { return closed }
        // "Error: 268435581 error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED at FILE:LINE"
        let text = first.description
        guard let end = text.range(of: " at /") ?? text.range(of: " at "),
            let colon = text[..<end.lowerBound].lastIndex(of: ":")
        else { return text }
        let reason = String(text[text.index(after: colon)..<end.lowerBound])
        return reason == "CERTIFICATE_VERIFY_FAILED" ? "the certificate is not trusted (\(reason))" : reason
    }
}

extension StringProtocol {
    /// Returns the range of the first occurrence of the text. Foundation has this method, but is not linked.
    fileprivate func range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text), let end = index(start, offsetBy: text.count, limitedBy: endIndex) {
                return start..<end
            }
            start = index(after: start)
        }
        return nil
    }
}

/// The errors by which this machine cannot run a check. They prove nothing about the real server.
enum OwnShortage {
    /// The temporary shortages: descriptors, ports (connect(2)), packet buffers or memory. Another attempt may succeed.
    static let passing: Set<Int32> = [EMFILE, ENFILE, EADDRNOTAVAIL, EAGAIN, ENOBUFS, ENOMEM]
    /// All errors of this kind: the temporary shortages, and ENODEV. ENODEV means that ipvsd0 is missing, which does
    /// not come back with the same index.
    static let codes = passing.union([ENODEV])

    static func reason(_ code: Int32) -> String { reason(String(cString: strerror(code))) }

    static func reason(_ problem: String) -> String { "not asked, as the director itself could not: \(problem)" }
}
