internal import Director
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// Metrics on the control socket. `MetricsServer` serves them over TCP.
extension ControlServer {
    static func addMetrics(to router: Router<ControlContext>, director: Director) {
        router.get("/metrics") { _, _ -> Response in
            guard let text = try await director.metrics()?.text(version: Director.version) else {
                throw HTTPError(.serviceUnavailable)
            }
            return Response(
                status: .ok, headers: [.contentType: MetricsText.contentType],
                body: .init(byteBuffer: ByteBuffer(string: text)))
        }
    }
}
