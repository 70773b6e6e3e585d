internal import Director
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird

/// Drains over HTTP. A refusal is a `DirectorError` as JSON, with status 400 for a bad value, and 409 for a service
/// that would lose its quorum.
extension ControlServer {
    static func addMaintenance(to router: Router<ControlContext>, director: Director) {
        router.post("/drain") { request, context in
            let wanted = try await body(of: request)
            return await answer { try await director.drain(wanted, while: context.isStillAwaited) }
        }
        router.post("/undrain") { request, context in
            let wanted = try await body(of: request)
            return await answer { try await director.undrain(wanted, while: context.isStillAwaited) }
        }
        router.get("/drain") { request, _ in
            let query = request.uri.queryParameters
            let wanted = DrainRequest(
                server: query["server"].map(String.init) ?? "", service: query["service"].map(String.init))
            return await answer { try await director.drainReport(wanted) }
        }
    }

    private static func body(of request: Request) async throws -> DrainRequest {
        let body = try await request.body.collect(upTo: 65_536)
        do { return try JSONDecoder().decode(DrainRequest.self, from: Data(body.readableBytesView)) } catch {
            throw HTTPError(.badRequest, message: "no DrainRequest: \(error)")
        }
    }

    /// Returns the result of `body` as JSON, or its error as a refusal.
    static func answer(_ body: () async throws -> some Encodable) async -> Response {
        do {
            return json(Array(try JSONEncoder().encode(try await body())))
        } catch {
            return refusal(DirectorError(error))
        }
    }

    static func refusal(_ error: DirectorError) -> Response {
        let status: HTTPResponse.Status =
            switch error.kind {
            case .badValue: .badRequest
            case .tooFew, .notDrained: .conflict
            case .alreadyRunning: .serviceUnavailable
            default: .internalServerError
            }
        return json((try? JSONEncoder().encode(error)).map { Array($0) } ?? [], status: status)
    }
}
