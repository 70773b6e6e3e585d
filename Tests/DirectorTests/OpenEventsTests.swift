import Addresses
import FoundationEssentials
import Glibc
import LoadBalancing
import Testing

@testable import Director

/// The open events and their file.
struct OpenEventsTests {
    private static let web = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp)
    private static let mail = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 25, transport: .tcp)
    private static let sorry = IPAddress(0x0A00_0009)

    private static func event(
        _ kind: DirectorEvent.Kind, _ service: ServiceAddress = web, server: IPAddress? = nil, at seconds: Double = 1
    ) -> DirectorEvent {
        DirectorEvent(
            sequence: UInt64(seconds), time: Date(timeIntervalSince1970: seconds), kind: kind, service: service,
            server: server, standing: .init(up: 0, total: 2, weight: 0, quorum: 1))
    }

    @Test("an event of a lack stays open until its end is published")
    func whatIsOpenAndWhatEndsIt() {
        var open = OpenEvents()
        func record(_ event: DirectorEvent) -> Bool { open.record(event) }
        for kind in DirectorEvent.Kind.allCases where kind.end == nil {
            #expect(!record(Self.event(kind, server: Self.sorry)), "\(kind)")
        }
        #expect(open.events.isEmpty)
        #expect(record(Self.event(.quorumLost)))
        #expect(record(Self.event(.serviceDown)))
        #expect(record(Self.event(.serviceDown, Self.mail)))
        #expect(record(Self.event(.sorryServerIn, server: Self.sorry)))
        #expect(open.events.map(\.kind) == [.quorumLost, .serviceDown, .serviceDown, .sorryServerIn])
        // An event that is published again replaces the earlier one.
        #expect(record(Self.event(.serviceDown, at: 2)))
        #expect(open.events.count == 4)
        #expect(open.events.last == Self.event(.serviceDown, at: 2))
        #expect(record(Self.event(.serviceUp)))
        #expect(!record(Self.event(.serviceUp)))
        #expect(!record(Self.event(.sorryServerOut, server: IPAddress(0x0A00_0008))))
        #expect(record(Self.event(.sorryServerOut, server: Self.sorry)))
        #expect(open.events == [Self.event(.quorumLost), Self.event(.serviceDown, Self.mail)])
    }

    @Test("open events follow a service's address, and end with a removed service")
    func servicesMayHaveAnotherAddressOrBeGone() {
        var open = OpenEvents()
        _ = open.record(Self.event(.quorumLost))
        _ = open.record(Self.event(.serviceDown, Self.mail))
        let changesWithSameAddresses = open.keep { $0.service }
        let changesWithOtherAddresses = open.keep { $0.service == Self.mail ? nil : Self.mail }
        #expect(!changesWithSameAddresses)
        #expect(changesWithOtherAddresses)
        #expect(open.events == [Self.event(.quorumLost, Self.mail)])
    }

    @Test("written events are read again, and a damaged file is a problem")
    func theFileRemembers() throws {
        let directory = "/tmp/ipvsd-open-events-\(getpid())"
        let file = OpenEventsFile(path: "\(directory)/below/open-events.json")
        defer {
            unlink(file.path)
            rmdir("\(directory)/below")
            rmdir(directory)
        }
        var open = OpenEvents()
        #expect(file.read() == (open, nil))
        _ = open.record(Self.event(.quorumLost))
        _ = open.record(Self.event(.sorryServerIn, Self.mail, server: Self.sorry, at: 1.5))
        try file.write(open)
        #expect(file.read() == (open, nil))
        try file.write(OpenEvents())
        #expect(access(file.path, F_OK) != 0)
        // The removal of a missing file is no error.
        try file.write(OpenEvents())
        for text in ["", "[", "{}", "[{}]", #"[{"event": "reboot"}]"#] {
            let stream = try #require(fopen(file.path, "w"))
            fputs(text, stream)
            fclose(stream)
            let (read, problem) = file.read()
            #expect(read == OpenEvents(), "\(text)")
            #expect(problem?.hasPrefix("read \(file.path): ") == true, "\(text)")
        }
    }
}
