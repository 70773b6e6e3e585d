import Director
import Testing

@testable import ipvsd

/// The words of the table of `ipvsd status` for how a real server stands.
struct StatusTableTests {
    private func server() throws -> DirectorStatus.Server {
        try #require(try Sample.status().bare.services.first?.servers.first)
    }

    @Test("the health names since when, why, drains, holds and slow starts")
    func health() throws {
        var server = try server()
        server.health = .down
        server.since = "2026-01-01T00:00:00Z"
        server.reason = "refused"
        server.heldUntil = "2026-01-01T00:01:00Z"
        let down = "down since 2026-01-01T00:00:00Z: refused"
        #expect(StatusTable.health(server) == "\(down), held out until 2026-01-01T00:01:00Z")
        server.health = .up
        (server.reason, server.heldUntil) = (nil, nil)
        server.drained = "2026-01-01T00:02:00Z"
        server.wholeShareAt = "2026-01-01T00:03:00Z"
        let up = "up since 2026-01-01T00:00:00Z, drained since 2026-01-01T00:02:00Z"
        #expect(StatusTable.health(server) == "\(up), starts slowly until 2026-01-01T00:03:00Z")
    }

    @Test("a sorry server serves, or does not")
    func sorryServer() throws {
        var server = try server()
        server.isSorryServer = true
        server.effectiveWeight = 0
        #expect(StatusTable.health(server) == "sorry server")
        server.effectiveWeight = 1
        #expect(StatusTable.health(server) == "sorry server, serves")
    }

    @Test("a service without quorum is named with what it needs, and who serves")
    func quorum() throws {
        var status = try Sample.status().filled
        let index = try #require(status.services.firstIndex { $0.quorum != nil })
        status.services[index].quorum?.isUp = false
        status.services[index].quorum?.weight = 1
        status.services[index].quorum?.required = 2
        status.services[index].quorum?.hysteresis = 0
        status.services[index].quorum?.sorryServerServes = true
        let line = "has lost its quorum: usable weight 1, required 2; the sorry server serves"
        #expect(StatusTable.text(status).contains(line))
    }
}
