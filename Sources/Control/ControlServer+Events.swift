internal import Director
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import ServiceLifecycle

/// `GET /events`: events as lines of JSON. An object with `missed` has the number of events that are no longer kept.
/// Empty lines in quiet times show the client that the daemon is alive, and show the daemon whether the client still
/// reads.
extension ControlServer {
    /// The longest time without a line, in a stream that follows events.
    static let silence = Duration.seconds(10)

    static func addEvents(to router: Router<ControlContext>, director: Director) {
        router.get("/events") { request, _ -> Response in
            let query = request.uri.queryParameters
            let filter: EventRing.Filter
            do {
                filter = try await director.eventFilter(
                    service: query["service"].map(String.init), server: query["server"].map(String.init))
            } catch { return refusal(DirectorError(error)) }
            let log = director.events
            let after =
                query["after"].flatMap { UInt64($0) }
                ?? log.start(ofLast: query["last"].flatMap { Int($0) } ?? EventRing.capacity, filter: filter)
            let follows = query["follow"] == "true"
            let body = ResponseBody { writer in
                // The subscription precedes the first read, so that no event is lost between the two.
                let news = follows ? log.news() : nil
                var reader = EventReader(log: log, after: after, filter: filter)
                if let lines = try reader.next() { try await writer.write(lines) }
                if let news {
                    for await _ in wakes(news).cancelOnGracefulShutdown() {
                        try await writer.write(try reader.next() ?? ByteBuffer(string: "\n"))
                    }
                }
                try await writer.finish(nil)
            }
            return Response(status: .ok, headers: [.contentType: "application/x-ndjson"], body: body)
        }
    }

    /// Returns a stream with an element at new events, and an element every `silence`. The caller writes at each
    /// element, as only a write detects a reader that has gone.
    private static func wakes(_ news: AsyncStream<Void>) -> AsyncStream<Void> {
        AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            let tasks = [
                Task { for await _ in news { continuation.yield() } },
                Task {
                    while !Task.isCancelled {
                        try? await Task.sleep(for: silence)
                        continuation.yield()
                    }
                },
            ]
            continuation.onTermination = { _ in for task in tasks { task.cancel() } }
        }
    }
}

/// The position of a reader in the event log.
private struct EventReader {
    let log: EventLog
    var after: UInt64
    let filter: EventRing.Filter

    /// Returns the lines of new events; nil where there are none.
    mutating func next() throws -> ByteBuffer? {
        let batch = log.read(after: after, filter: filter)
        after = batch.last
        var lines = ByteBuffer()
        if batch.missed > 0 { lines.writeString("{\"missed\":\(batch.missed)}\n") }
        for event in batch.events {
            lines.writeBytes(try event.json())
            lines.writeString("\n")
        }
        return lines.readableBytes == 0 ? nil : lines
    }
}
