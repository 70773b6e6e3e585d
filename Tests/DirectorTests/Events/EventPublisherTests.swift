import Addresses
import Foundation
import HealthChecks
import LoadBalancing
import Testing

@testable import Director

/// The decision which events are news, and the times at which former states began.
struct EventPublisherTests {
    private let web = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp)
    private let mail = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 25, transport: .tcp)
    private let server = IPAddress(0x0A00_000B)
    private let started = Date(timeIntervalSince1970: 1000)

    private func event(
        _ kind: DirectorEvent.Kind, of service: ServiceAddress, server: IPAddress? = nil, at time: Double
    ) -> DirectorEvent {
        DirectorEvent(
            time: Date(timeIntervalSince1970: time), kind: kind, service: service, server: server,
            standing: .init(up: 1, total: 1, weight: 1, quorum: 1))
    }

    @Test("an event has the time of its opposite, or of the daemon's start")
    func dates() {
        var publisher = EventPublisher(started: started)
        func since(_ event: DirectorEvent, _ known: Date? = nil) -> Double? {
            publisher.dated(event, since: known).since?.timeIntervalSince1970
        }
        #expect(since(event(.serverDown, of: web, server: server, at: 1010)) == 1000)
        #expect(since(event(.serverUp, of: web, server: server, at: 1030)) == 1010)
        #expect(since(event(.serverUp, of: mail, server: server, at: 1031)) == 1000, "another service")
        #expect(since(event(.serverDrained, of: web, server: server, at: 1032)) == 1000, "another aspect")
        let known = Date(timeIntervalSince1970: 900)
        #expect(since(event(.serverUndrained, of: web, server: server, at: 1040), known) == 900)
        #expect(since(event(.restored, of: web, at: 1050)) == nil)
        #expect(publisher.hasPublished(.serverDown, of: web, server: server))
        #expect(!publisher.hasPublished(.quorumLost, of: web, server: nil))
    }

    @Test("a service without a real server is news once, and so is one that has a real server again")
    func serving() {
        var publisher = EventPublisher(started: started)
        #expect(publisher.serving(web, usableWeight: 3) == nil)
        #expect(publisher.serving(web, usableWeight: 0) == .serviceDown)
        #expect(publisher.serving(web, usableWeight: 0) == nil)
        #expect(publisher.serving(mail, usableWeight: 1) == nil)
        #expect(publisher.serving(web, usableWeight: 1) == .serviceUp)
        #expect(publisher.serving(web, usableWeight: 1) == nil)
    }

    @Test("the loss of the last real server is logged once")
    func emptied() {
        var publisher = EventPublisher(started: started)
        let logged = [1, 0, 0].map { publisher.noteDown(of: web, numberUp: $0) }
        #expect(logged == [false, true, false])
        publisher.noteUp(of: web)
        let again = publisher.noteDown(of: web, numberUp: 0)
        #expect(again)
    }

    @Test("open events are saved once for all events of a time")
    func open() {
        var publisher = EventPublisher(started: started)
        let lost = event(.quorumLost, of: web, at: 1010)
        let isNews = publisher.note(lost)
        #expect(isNews)
        let begins = publisher.noteUnsaved()
        let beginsAgain = publisher.noteUnsaved()
        #expect(begins)
        #expect(!beginsAgain)
        #expect(publisher.takeUnsaved()?.events == [lost])
        #expect(publisher.takeUnsaved() == nil)
        let other = publisher.note(event(.serverDown, of: web, server: server, at: 1020))
        #expect(!other)
    }

    @Test("the last daemon's events are taken over under the service's present address")
    func takeover() {
        var left = OpenEvents()
        for former in [event(.quorumLost, of: web, at: 10), event(.serviceDown, of: mail, at: 20)] {
            _ = left.record(former)
        }
        var publisher = EventPublisher(started: started)
        let new = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 443, transport: .tcp)
        let hasChanged = publisher.takeOver(left) { $0.service == web ? new : nil }
        #expect(hasChanged)
        #expect(publisher.open.events.map(\.service) == [new])
    }

    @Test("the events of a removed service are forgotten")
    func forgotten() {
        var publisher = EventPublisher(started: started)
        _ = publisher.dated(event(.serverDown, of: web, server: server, at: 1010), since: nil)
        _ = publisher.note(event(.serviceDown, of: web, at: 1010))
        _ = publisher.serving(web, usableWeight: 0)
        let begins = publisher.begins(web)
        let beginsAgain = publisher.begins(web)
        #expect(begins)
        #expect(!beginsAgain)
        let hasChanged = publisher.keep { _ in nil }
        #expect(hasChanged)
        #expect(publisher.open.events.isEmpty)
        #expect(!publisher.hasPublished(.serverDown, of: web, server: server))
        #expect(publisher.serving(web, usableWeight: 0) == .serviceDown)
        let beginsAnew = publisher.begins(web)
        #expect(beginsAnew)
    }
}
