import Addresses
import FoundationEssentials
import Glibc
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

/// What was done by hand, and the file that remembers it.
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

    @Test func aDrainOfTheServerHoldsInEveryService() {
        var overrides = Overrides()
        #expect(overrides.drain(Self.one, service: nil, since: Self.now) == true)
        #expect(overrides.drain(of: Self.one, in: Self.web)?.since == Self.now)
        #expect(overrides.drain(of: Self.one, in: Self.mail) != nil)
        #expect(overrides.drain(of: Self.two, in: Self.web) == nil)
        #expect(overrides.drain(Self.one, service: nil, since: Self.now + 60) == false, "it is drained already")
        #expect(overrides.drain(of: Self.one, in: Self.web)?.since == Self.now)
    }

    @Test func aServiceMayGetAnotherFirstListener() {
        var overrides = Overrides()
        #expect(overrides.drain(Self.one, service: Self.web.address, since: Self.now) == true)
        let turned = Self.service(0x0A00_0064, 443, 80)
        #expect(overrides.drain(of: Self.one, in: turned) != nil)
        #expect(overrides.drain(of: Self.one, in: Self.mail) == nil)
        #expect(overrides.undrain(Self.one, service: turned) == true)
        #expect(overrides.isEmpty)
    }

    @Test func anUndrainWithoutServiceTakesAllBack() {
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

    @Test func persistentClientsMayBeToldToMoveLater() {
        var overrides = Overrides()
        _ = overrides.drain(Self.one, service: nil, since: Self.now)
        #expect(!overrides.movesPersistent(Self.one, in: Self.web))
        // In one service, beside the drain of all.
        #expect(
            overrides.drain(Self.one, service: Self.web.address, since: Self.now + 9, movesPersistent: true) == true)
        #expect(
            overrides.movesPersistent(Self.one, in: Self.web) && !overrides.movesPersistent(Self.one, in: Self.mail))
        #expect(overrides.drain(Self.one, service: nil, since: Self.now + 9, movesPersistent: true) == true)
        #expect(
            overrides.movesPersistent(Self.one, in: Self.mail) && !overrides.movesPersistent(Self.two, in: Self.mail))
        #expect(overrides.drain(of: Self.one, in: Self.mail)?.since == Self.now)
        // They do not go back, before the drain ends.
        for moves in [false, true] {
            #expect(overrides.drain(Self.one, service: nil, since: Self.now, movesPersistent: moves) == false)
        }
        #expect(overrides.movesPersistent(Self.one, in: Self.mail))
        _ = overrides.undrain(Self.one, service: nil)
        #expect(!overrides.movesPersistent(Self.one, in: Self.web))
    }

    @Test func datagramsMayBeToldToMoveLater() {
        var overrides = Overrides()
        _ = overrides.drain(Self.one, service: nil, since: Self.now, movesPersistent: true)
        #expect(!overrides.movesDatagrams(Self.one, in: Self.web))
        #expect(overrides.drain(Self.one, service: nil, since: Self.now + 9, movesDatagrams: true) == true)
        #expect(overrides.movesDatagrams(Self.one, in: Self.web) && overrides.movesPersistent(Self.one, in: Self.web))
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

    @Test func whatIsWrittenIsRead() throws {
        try Self.inDirectory { file in
            #expect(try file.read().isEmpty, "no file is no override")
            var overrides = Overrides()
            _ = overrides.drain(Self.one, service: nil, since: Self.now + 0.7)
            _ = overrides.drain(Self.two, service: Self.mail.address, since: Self.now)
            try file.write(overrides)
            #expect(try file.read() == overrides)
            #expect(file.takeOver() == (overrides, nil))
            try file.write(Overrides())
            #expect(access(file.path, F_OK) != 0, "nothing is kept of nothing")
            try file.write(Overrides())
        }
    }

    @Test(arguments: [
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
            #expect(access(file.path, F_OK) == 0, "who only reads leaves it")
            let (overrides, problem) = file.takeOver()
            #expect(overrides.isEmpty)
            let said = try #require(problem)
            #expect(said.contains(try Regex(reason).ignoresCase()), "\(said)")
            #expect(said.contains("kept as \(file.path).damaged"))
            #expect(access(file.path, F_OK) != 0 && access(file.path + ".damaged", F_OK) == 0)
            #expect(file.takeOver().problem == nil, "once it is aside there is nothing to complain about")
        }
    }

    @Test func aFileThatCannotBeWrittenIsAnErrorAndChangesNothing() throws {
        try Self.inDirectory { file in
            var overrides = Overrides()
            _ = overrides.drain(Self.one, service: nil, since: Self.now)
            try file.write(overrides)
            // A directory is where the temporary file would be.
            #expect(mkdir(file.path + ".new", 0o700) == 0)
            defer { rmdir(file.path + ".new") }
            var other = overrides
            _ = other.drain(Self.two, service: nil, since: Self.now)
            #expect(throws: (any Error).self) { try file.write(other) }
            #expect(try file.read() == overrides)
        }
    }
}
