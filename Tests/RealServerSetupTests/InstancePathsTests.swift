import HostState
import Testing

/// Where an instance keeps what outlives it.
struct InstancePathsTests {
    @Test func aNamedInstanceOutlivesReboots() {
        let paths = InstancePaths(name: "blue")
        #expect(paths.overrides == "/var/lib/ipvsd/blue/overrides.json")
        #expect(paths.runDirectory == "/run/ipvsd/blue")
    }

    @Test func anInstanceThatANamespaceNamesEndsWithIt() {
        let paths = InstancePaths()
        let directory = paths.instance == nil ? "/var/lib/ipvsd" : paths.runDirectory
        #expect(paths.overrides == directory + "/overrides.json")
    }
}
