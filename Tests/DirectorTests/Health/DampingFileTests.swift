import Addresses
import Glibc
import HealthChecks
import LoadBalancing
import Testing

@testable import Director

/// The file by which a daemon takes over flap damping.
struct DampingFileTests {
    @Test("written entries are read again, and a damaged file is a problem")
    func whatIsWrittenIsRead() throws {
        let directory = "/tmp/ipvsd-damping-\(UInt64.random(in: .min ... .max))"
        try #require(mkdir(directory, 0o700) == 0)
        let file = DampingFile(path: directory + "/damping.json")
        defer {
            unlink(file.path)
            rmdir(directory)
        }
        #expect(file.read().entries.isEmpty)
        #expect(file.read().problem == nil)
        var damping = FlapDamping()
        damping.fall(at: .now, halfLife: .seconds(60))
        let entries = (1...2 as ClosedRange<UInt32>).map {
            DampingFile.Entry(
                service: ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp),
                server: IPAddress(0x0A00_0000 + $0), damping: damping)
        }
        try file.write(entries)
        #expect(file.read().entries == entries)
        #expect(file.read().problem == nil)
        let written = try #require(fopen(file.path, "a"))
        fputs("x", written)
        fclose(written)
        #expect(file.read().entries.isEmpty)
        #expect(file.read().problem?.hasPrefix("read \(file.path): ") == true)
        try file.write([])
        #expect(access(file.path, F_OK) != 0)
    }
}
