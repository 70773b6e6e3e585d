import CLinux
import Glibc
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

struct BPFDirectoryTests {
    @Test("an instance's directory on bpffs is made, journalled and removed")
    func isMadeAndRemoved() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let paths = InstancePaths()
            #expect(paths.instance?.hasPrefix("netns-") == true)
            #expect(paths.existingBPFDirectory() == nil)
            let journal = try ChangeJournal(path: paths.journal)
            let directory = try paths.bpfDirectory(journal: journal)
            #expect(directory.note == nil)
            #expect(BPFFilesystem.isMounted(at: directory.path))
            #expect(paths.existingBPFDirectory() == directory.path)
            // The journal has the path that is valid in all mount namespaces.
            #expect(
                journal.changes.contains(.directory(path: "/sys/fs/bpf/ipvsd/\(paths.instance ?? "")")))
            #expect(journal.undoAll { _, _ in })
            #expect(paths.existingBPFDirectory() == nil)
            paths.removeRunDirectoryIfEmpty()
        }
    }
}
