import HostState
import Testing

/// The paths of state that outlives an instance.
struct InstancePathsTests {
    @Test("a named instance keeps its state in /var/lib")
    func aNamedInstanceOutlivesReboots() {
        let paths = InstancePaths(name: "blue")
        #expect(paths.overrides == "/var/lib/ipvsd/blue/overrides.json")
        #expect(paths.runDirectory == "/run/ipvsd/blue")
    }

    @Test("an instance of a network namespace keeps its state in /run")
    func anInstanceThatANamespaceNamesEndsWithIt() {
        let paths = InstancePaths()
        let directory = paths.instance == nil ? "/var/lib/ipvsd" : paths.runDirectory
        #expect(paths.overrides == directory + "/overrides.json")
    }
}
