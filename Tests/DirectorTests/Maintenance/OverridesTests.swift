import Addresses
import FoundationEssentials
import Glibc
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

/// The drains of operators and their file.
struct OverridesTests {
    private static let one = IPAddress(0x0A00_000B)
    private static let two = IPAddress(0x0A00_000C)
    private static let web = service(0x0A00_0064, 80, 443)
    private static let mail = service(0x0A00_0065, 25)
    private static let now = Date(timeIntervalSince1970: 1_000_000)

    private static func service(_ vip: UInt32, _ ports: UInt16...) -> VirtualService {
        let listeners = ports.map { ServiceAddress(vip: IPAddress(vip), port: $0, transport: .tcp) }
        return VirtualService(
            address: listeners[0], scheduler: .rr, otherAddresses: Array(listeners.dropFirst()),
            servers: [RealServer(address: one), RealServer(address: two)])
    }

    @Test("a drain without a service holds in every service of the real server")
    func aDrainOfTheServerHoldsInEveryService() {
        var overrides = Overrides()
        #expect(overrides.drain(Self.one, service: nil, since: Self.now) == true)
        #expect(overrides.drain(of: Self.one, in: Self.web)?.since == Self.now)
        #expect(overrides.drain(of: Self.one, in: Self.mail) != nil)
        #expect(overrides.drain(of: Self.two, in: Self.web) == nil)
        #expect(overrides.drain(Self.one, service: nil, since: Self.now + 60) == false, "it is drained already")
        #expect(overrides.drain(of: Self.one, in: Self.web)?.since == Self.now)
    }

    @Test("a drain of a service holds when another listener comes first")
    func aServiceMayGetAnotherFirstListener() {
        var overrides = Overrides()
        #expect(overrides.drain(Self.one, service: Self.web.address, since: Self.now) == true)
        let turned = Self.service(0x0A00_0064, 443, 80)
        #expect(overrides.drain(of: Self.one, in: turned) != nil)
        #expect(overrides.drain(of: Self.one, in: Self.mail) == nil)
        #expect(overrides.undrain(Self.one, service: turned) == true)
        #expect(overrides.isEmpty)
    }

    @Test("an undrain without a service ends all drains of the real server")
    func anUndrainWithoutServiceTakesAllBack() {
        var overrides = Overrides()
        _ = overrides.drain(Self.one, service: nil, since: Self.now)
        _ = overrides.drain(Self.one, service: Self.web.address, since: Self.now - 60)
        _ = overrides.drain(Self.two, service: nil, since: Self.now)
        #expect(overrides.drain(of: Self.one, in: Self.web)?.since == Self.now - 60, "the older one")
        #expect(overrides.undrain(Self.one, service: Self.mail) == false, "it holds for all, not for this one")
        #expect(overrides.undrain(Self.one, service: nil) == true)
        #expect(overrides.undrain(Self.one, service: nil) == false)
        #expect(overrides.drains.map(\.server) == [Self.two])
    }

    @Test("a later request can move persistent clients, until the drain ends")
    func persistentClientsMayBeToldToMoveLater() {
        var overrides = Overrides()
        _ = overrides.drain(Self.one, service: nil, since: Self.now)
        #expect(!overrides.movesPersistent(Self.one, in: Self.web))
        // This drain of one service stands beside the drain of all services.
        #expect(
            overrides.drain(Self.one, service: Self.web.address, since: Self.now + 9, movesPersistent: true) == true)
        #expect(overrides.movesPersistent(Self.one, in: Self.web))
        #expect(!overrides.movesPersistent(Self.one, in: Self.mail))
        #expect(overrides.drain(Self.one, service: nil, since: Self.now + 9, movesPersistent: true) == true)
        #expect(overrides.movesPersistent(Self.one, in: Self.mail))
        #expect(!overrides.movesPersistent(Self.two, in: Self.mail))
        #expect(overrides.drain(of: Self.one, in: Self.mail)?.since == Self.now)
        // Clients do not return before the drain ends.
        for moves in [false, true] {
            #expect(overrides.drain(Self.one, service: nil, since: Self.now, movesPersistent: moves) == false)
        }
        #expect(overrides.movesPersistent(Self.one, in: Self.mail))
        _ = overrides.undrain(Self.one, service: nil)
        #expect(!overrides.movesPersistent(Self.one, in: Self.web))
    }

    @Test("a later request can move datagrams, until the drain ends")
    func datagramsMayBeToldToMoveLater() {
        var overrides = Overrides()
        _ = overrides.drain(Self.one, service: nil, since: Self.now, movesPersistent: true)
        #expect(!overrides.movesDatagrams(Self.one, in: Self.web))
        #expect(overrides.drain(Self.one, service: nil, since: Self.now + 9, movesDatagrams: true) == true)
        #expect(overrides.movesDatagrams(Self.one, in: Self.web))
        #expect(overrides.movesPersistent(Self.one, in: Self.web))
        #expect(!overrides.movesDatagrams(Self.two, in: Self.web))
        #expect(overrides.drain(Self.one, service: nil, since: Self.now + 9, movesDatagrams: true) == false)
        #expect(overrides.drain(of: Self.one, in: Self.web)?.since == Self.now)
        _ = overrides.undrain(Self.one, service: nil)
        #expect(!overrides.movesDatagrams(Self.one, in: Self.web))
    }

    // MARK: The file

    private static func inDirectory(_ body: (OverridesFile) throws -> Void) throws {
        let directory = "/tmp/ipvsd-overrides-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        defer {
            for name in ["/state/o.json", "/state/o.json.damaged", "/state/o.json.new"] { unlink(directory + name) }
            rmdir(directory + "/state")
            rmdir(directory)
        }
        try body(OverridesFile(path: directory + "/state/o.json"))
    }

    private static func write(_ text: String, to path: String) throws {
        let file = try #require(fopen(path, "w"))
        fputs(text, file)
        fclose(file)
    }

    @Test("written drains are read again, and without drains there is no file")
    func whatIsWrittenIsRead() throws {
        try Self.inDirectory { file in
            #expect(try file.read().isEmpty, "no file is no override")
            var overrides = Overrides()
            _ = overrides.drain(Self.one, service: nil, since: Self.now + 0.7)
            _ = overrides.drain(Self.two, service: Self.mail.address, since: Self.now)
            try file.write(overrides)
            #expect(try file.read() == overrides)
            #expect(file.takeOver() == (overrides, nil))
            try file.write(Overrides())
            #expect(access(file.path, F_OK) != 0, "without drains there is no file")
            try file.write(Overrides())
        }
    }

    @Test(
        "a damaged file is renamed at a start, and counts as empty",
        arguments: [
            ("", "unexpected|corrupt|data"), ("{\"version\":1,\"drains\":[{\"ser", "unexpected|corrupt|data"),
            ("{\"version\":2,\"drains\":[]}", "version 2, mine is 1"), ("[1]", "dictionary|data"),
            (
                "{\"version\":1,\"drains\":[{\"server\":\"10.0.0.256\",\"since\":\"2026-01-01T00:00:00Z\"}]}",
                "drains.\\[0\\].server: 10.0.0.256 is no IP address"
            ),
        ])
    func aDamagedFileIsSetAside(text: String, reason: String) throws {
        try Self.inDirectory { file in
            try file.write(
                {
                    var overrides = Overrides()
                    _ = overrides.drain(Self.one, service: nil, since: Self.now)
                    return overrides
                }())
            try Self.write(text, to: file.path)
            #expect(throws: OverridesFile.Damage.self) { try file.read() }
            #expect(access(file.path, F_OK) == 0, "a reader leaves the file in place")
            let (overrides, problem) = file.takeOver()
            #expect(overrides.isEmpty)
            let said = try #require(problem)
            #expect(said.contains(try Regex(reason).ignoresCase()), "\(said)")
            #expect(said.contains("kept as \(file.path).damaged"))
            #expect(access(file.path, F_OK) != 0)
            #expect(access(file.path + ".damaged", F_OK) == 0)
            #expect(file.takeOver().problem == nil, "the renamed file is no problem any more")
        }
    }

    @Test("a write that fails throws, and leaves the file unchanged")
    func aFileThatCannotBeWrittenIsAnErrorAndChangesNothing() throws {
        try Self.inDirectory { file in
            var overrides = Overrides()
            _ = overrides.drain(Self.one, service: nil, since: Self.now)
            try file.write(overrides)
            // A directory has the name of the temporary file, so the next write fails.
            #expect(mkdir(file.path + ".new", 0o700) == 0)
            defer { rmdir(file.path + ".new") }
            var other = overrides
            _ = other.drain(Self.two, service: nil, since: Self.now)
            #expect(throws: (any Error).self) { try file.write(other) }
            #expect(try file.read() == overrides)
        }
    }
}
