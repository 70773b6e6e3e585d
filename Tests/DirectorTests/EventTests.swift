import Addresses
import FoundationEssentials
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

/// The numbers of events, the events that a slow reader misses, and the texts of events.
struct EventTests {
    private static let service = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp)
    private static let server = IPAddress(0x0A00_000B)

    static func event(
        _ kind: DirectorEvent.Kind = .serverDown, service: ServiceAddress = service, server: IPAddress? = server
    ) -> DirectorEvent {
        DirectorEvent(
            time: Date(timeIntervalSince1970: 1_700_000_000.25), kind: kind, service: service, server: server,
            reason: "tcp:80: \"no\"\n\u{1B}answer\0\u{7F}\u{80}\u{9B}\u{9F}",
            since: Date(timeIntervalSince1970: 1_699_999_000),
            standing: .init(up: 1, total: 2, weight: 3, quorum: 4))
    }

    private static func ring(_ count: Int, capacity: Int) -> EventRing {
        var ring = EventRing(capacity: capacity)
        for _ in 0..<count { ring.append(event()) }
        return ring
    }

    /// The ring is compared with a list of all events.
    @Test(
        "a reader gets the kept events in order, and the number of missed ones", arguments: [1, 2, 7],
        [0, 1, 6, 7, 8, 14, 40])
    func readersSeeTheLastOnesInOrderAndAreToldWhatTheyMissed(capacity: Int, count: Int) {
        let ring = Self.ring(count, capacity: capacity)
        let kept = Array((1...(count + 1)).dropLast().suffix(capacity))
        for after in 0...count {
            let batch = ring.read(after: UInt64(after))
            #expect(batch.events.map { Int($0.sequence) } == kept.filter { $0 > after })
            #expect(Int(batch.missed) == count - after - kept.count { $0 > after })
            #expect(Int(batch.last) == count)
        }
        // A number above the last event's is from an earlier daemon.
        #expect(ring.read(after: UInt64(count) + 5).events.count == kept.count)
    }

    @Test("a reader gets the last events that its filter admits")
    func theLastOnesAreThoseThatTheFilterAdmits() {
        var ring = EventRing(capacity: 10)
        let other = ServiceAddress(vip: IPAddress(0x0A00_0065), port: 25, transport: .tcp)
        for index in 0..<8 { ring.append(Self.event(service: index.isMultiple(of: 2) ? Self.service : other)) }
        let filter = EventRing.Filter(service: Self.service)
        let start = ring.start(ofLast: 2, filter: filter)
        #expect(ring.read(after: start, filter: filter).events.map(\.sequence) == [5, 7])
        #expect(ring.start(ofLast: 0) == 8)
        #expect(ring.read(after: ring.start(ofLast: 100)).events.count == 8)
        #expect(ring.read(after: 0, filter: .init(server: IPAddress(0x0A00_000C))).events.isEmpty)
    }

    @Test("a follower is woken once for many events, and reads the kept ones", .timeLimit(.minutes(1)))
    func aFollowerIsWokenAndReadsTheNews() async {
        let log = EventLog(capacity: 3)
        log.append(Self.event())
        let news = log.news()
        for _ in 0..<5 { log.append(Self.event()) }
        var iterator = news.makeAsyncIterator()
        #expect(await iterator.next() != nil)
        let batch = log.read(after: 1)
        #expect(batch.events.map(\.sequence) == [4, 5, 6])
        #expect(batch.missed == 2)
        #expect(log.counts == [.serverDown: 6])
    }

    @Test("an event's JSON is one line with every key, and decodes to the same event")
    func jsonIsOneLineWithEveryKeyAndComesBack() throws {
        for event in [
            Self.event(), DirectorEvent(kind: .quorumLost, service: Self.service, standing: Self.event().standing),
        ] {
            var event = event
            event.time = Date(timeIntervalSince1970: 1_700_000_000.25)
            let line = try event.json()
            #expect(!line.contains(10))
            #expect(try JSONDecoder().decode(DirectorEvent.self, from: Data(line)) == event)
            let text = String(decoding: line, as: UTF8.self)
            for key in DirectorEvent.CodingKeys.allNames { #expect(text.contains("\"\(key)\":"), "\(key)") }
        }
        let text = String(decoding: try Self.event().json(), as: UTF8.self)
        #expect(text.contains("\"time\":\"2023-11-14T22:13:20.250Z\""), "\(text)")
    }

    @Test("an event's time is rounded to milliseconds")
    func timesAreWholeMilliseconds() {
        for microseconds in [0, 1, 499, 500, 999, 123_456, 250_000, 999_400, 999_999] + (0..<500).map({ $0 * 1_999 }) {
            let time = Date(timeIntervalSince1970: 1_700_000_000 + Double(microseconds) / 1_000_000)
            let event = DirectorEvent(
                time: time, kind: .serviceUp, service: Self.service, standing: Self.event().standing)
            #expect(abs(event.time.timeIntervalSince(time)) < 0.000_51)
            let milliseconds = event.time.timeIntervalSince1970 * 1000
            #expect(abs(milliseconds - milliseconds.rounded()) < 0.01, "\(microseconds)")
        }
    }

    /// The times are every millisecond of two seconds.
    @Test("times are the same in JSON, in a script's environment and after decoding")
    func timesAreWrittenAsTheyAre() throws {
        for milliseconds in 0..<2000 {
            let time = Date(timeIntervalSince1970: Double(1_700_000_000_000 + milliseconds) / 1000)
            var event = Self.event()
            event.time = time
            event.since = time
            let fraction = "\(1000 + milliseconds % 1000)".dropFirst()
            let text = "2023-11-14T22:13:\(20 + milliseconds / 1000).\(fraction)Z"
            let variables = event.environment()
            #expect(variables["IPVSD_TIME"] == text)
            #expect(variables["IPVSD_SINCE"] == text)
            let line = try event.json()
            #expect(String(decoding: line, as: UTF8.self).contains("\"since\":\"\(text)\""))
            let again = try JSONDecoder().decode(DirectorEvent.self, from: Data(line))
            #expect(again == event, "\(text)")
            #expect(try again.json() == line, "\(text)")
        }
    }

    @Test("a script's environment has the event's fields, with control characters escaped")
    func scriptsAreTold() {
        let variables = Self.event().environment()
        #expect(variables["IPVSD_EVENT"] == "server-down")
        #expect(variables["IPVSD_SERVICE"] == "10.0.0.100:80/tcp")
        #expect(variables["IPVSD_SERVER"] == "10.0.0.11")
        let escaped = #"\n\u001banswer\u0000\u007f\u0080\u009b\u009f"#
        #expect(variables["IPVSD_REASON"] == "tcp:80: \"no\"\(escaped)")
        #expect(
            [variables["IPVSD_UP"], variables["IPVSD_TOTAL"], variables["IPVSD_WEIGHT"], variables["IPVSD_QUORUM"]] == [
                "1", "2", "3", "4",
            ])
        #expect(variables["IPVSD_SINCE"] == "2023-11-14T21:56:40.000Z")
        #expect(Self.event(server: nil).environment()["IPVSD_SERVER"] == nil)
    }
}

extension DirectorEvent.CodingKeys {
    fileprivate static let allNames = [
        "sequence", "time", "event", "service", "server", "reason", "since", "up", "total", "weight", "quorum",
    ]
}
