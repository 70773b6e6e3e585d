import Glibc
import NIOSSL

/// Certificates that openssl makes for this run: a root, and server certificates for check.example and 127.0.0.1.
struct TestCertificates: Sendable {
    let directory: String

    static let shared: Result<TestCertificates, TestCertificatesError> = make()

    private static func make() -> Result<TestCertificates, TestCertificatesError> {
        var template = Array("/tmp/ipvsd-certificates-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { return .failure(TestCertificatesError(code: errno)) }
        let directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        atexit {
            if let made = try? TestCertificates.shared.get() { _ = system("rm -r \(made.directory)") }
        }
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        let code = system(
            """
            cd \(directory) && exec >/dev/null 2>&1
            openssl req -x509 \(key) -keyout root.key -out root.pem -days 30 -subj /CN=root &&
            openssl req \(key) -keyout server.key -out server.csr -subj /CN=check.example \
                -addext "subjectAltName=DNS:check.example,IP:127.0.0.1" &&
            openssl req -new -key server.key -out name.csr -subj /CN=check.example \
                -addext "subjectAltName=DNS:check.example" &&
            for days in 30 1 -1; do
                openssl x509 -req -in server.csr -CA root.pem -CAkey root.key -copy_extensions copy -days $days \
                    -out server$days.pem || exit 1
            done
            openssl x509 -req -in name.csr -CA root.pem -CAkey root.key -copy_extensions copy -days 30 \
                -out server30-name.pem
            """)
        return code == 0
            ? .success(TestCertificates(directory: directory)) : .failure(TestCertificatesError(code: code))
    }

    var root: String { "\(directory)/root.pem" }

    /// Returns a server's context with the certificate that is valid for 30, 1 or -1 days. The certificate "30-name"
    /// does not contain the address.
    func server(_ days: String = "30", protocols: [String] = []) throws -> NIOSSLContext {
        let chain = try NIOSSLCertificate.fromPEMFile("\(directory)/server\(days).pem")
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: "\(directory)/server.key", format: .pem)))
        configuration.applicationProtocols = protocols
        return try NIOSSLContext(configuration: configuration)
    }
}

struct TestCertificatesError: Error { var code: Int32 }
