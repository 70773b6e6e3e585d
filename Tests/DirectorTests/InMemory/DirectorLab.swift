import Addresses
import DataPlane
import Foundation
import HealthChecks
import LoadBalancing
import Logging
import ServiceConfiguration
import Synchronization
import Testing

@testable import Director
@testable import HostState

/// A director with a data plane, a network, a checker and a clock in memory. No privilege is needed.
final class DirectorLab: Sendable {
    static let vip = IPAddress(0x0A00_0064)
    static let service = ServiceAddress(vip: vip, port: 80, transport: .tcp)
    static let servers = [IPAddress(0x0A00_000B), IPAddress(0x0A00_000C)]

    let clock = ManualClock()
    let network = MemoryNetwork()
    let plane: MemoryDataPlane
    let checker: MemoryChecker
    let log = MemoryLog()
    let directory: String

    init() {
        let plane = MemoryDataPlane(network: network, clock: clock)
        self.plane = plane
        checker = MemoryChecker(plane: plane)
        directory = NSTemporaryDirectory() + "/director-lab-\(UUID().uuidString)"
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// Returns a configuration of one service with these real servers, whose checks are connects.
    static func configuration(
        servers: [RealServer] = servers.map { RealServer(address: $0) }, policy: ServicePolicy = ServicePolicy(),
        managesAddress: Bool = false
    ) -> DirectorConfiguration {
        DirectorConfiguration(
            services: [
                ConfiguredService(
                    VirtualService(address: service, scheduler: .wlc, servers: servers),
                    checks: .policy(CheckPolicy(kind: .tcp(port: 80))), policy: policy)
            ], managesAddress: managesAddress)
    }

    /// Starts a director, calls `body` while it runs, and ends it without stopping its data plane. If `isKilled` is
    /// true, the director ends as by `kill -9`, and writes nothing at its end.
    func run(
        _ configuration: DirectorConfiguration = configuration(), isKilled: Bool = false,
        _ body: (Director) async throws -> Void
    ) async throws {
        let director = Director(
            configuration: configuration, instance: InstancePaths(directory: directory),
            logger: Logger(label: "lab") { [log] _ in MemoryLogHandler(log: log) },
            environment: DirectorEnvironment(
                dataPlanes: MemoryDataPlanes(plane: plane), network: network, checker: checker, clock: clock))
        try await director.start()
        let run = Task { await director.run() }
        do { try await body(director) } catch {
            run.cancel()
            await run.value
            throw error
        }
        run.cancel()
        await run.value
        if !isKilled { await director.writeWhatOutlivesDaemon() }
    }

    /// Makes writes of drains fail, by a directory in place of their file.
    func refuseOverrides() throws {
        let path = InstancePaths(directory: directory).overrides
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    /// Advances the clock in steps of 10 ms until `isSo` returns true. Records `comment` as a failure after a minute of
    /// that clock.
    func wait(
        for director: Director, _ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation,
        until isSo: () async throws -> Bool
    ) async throws {
        for _ in 0..<6000 {
            if try await isSo() { return }
            try await pass(.milliseconds(10), for: director)
        }
        Issue.record(comment, sourceLocation: sourceLocation)
    }

    /// Advances the director's clock by `time`.
    func pass(_ time: Duration, for director: Director) async throws {
        var left = time
        while left > .zero {
            let step = min(left, .milliseconds(10))
            left -= step
            clock.advance(by: step)
            // Woken tasks get their turns on the actor before this returns, also on a busy machine.
            for _ in 0..<4 {
                await Task.yield()
                _ = await director.limits
            }
            try await Task.sleep(for: .microseconds(50))
        }
    }

    /// Returns the names of the events with their real servers, the oldest first.
    func events(of director: Director) -> [String] {
        director.events.read(after: 0).events.map { event in
            ([event.kind.rawValue] + [event.server?.description].compactMap(\.self)).joined(separator: " ")
        }
    }
}

/// The log lines of a director.
final class MemoryLog: Sendable {
    private let lines = Mutex<[(text: String, fields: [String: String])]>([])

    func append(_ text: String, _ fields: [String: String]) { lines.withLock { $0.append((text, fields)) } }

    /// Returns the fields of the last line that begins with the text.
    func fields(ofLast text: String) -> [String: String]? {
        lines.withLock { lines in lines.last { $0.text.hasPrefix(text) }?.fields }
    }
}

private struct MemoryLogHandler: LogHandler {
    let log: MemoryLog
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.debug

    init(log: MemoryLog) { self.log = log }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        log.append("\(event.message)", (event.metadata ?? [:]).mapValues { "\($0)" })
    }
}
