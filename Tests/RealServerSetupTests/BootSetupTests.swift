import Addresses
import Glibc
import Testing

@testable import RealServerSetup

/// The files of each manager. Tests/KernelLab/persist.test.sh tests a restart.
struct BootSetupTests {
    private let vips = [IPAddress(0x0A00_0064), IPAddress(0x0A00_0065)]

    private func files(
        _ manager: HostManager, arguments: [String] = [], namespace: String? = nil, hasSystemd: Bool = true
    ) -> [String: BootFile.Contents] {
        var setup = BootSetup(
            manager: manager, vips: vips, program: "/usr/sbin/ipvsd", arguments: arguments, namespace: namespace)
        setup.hasSystemd = hasSystemd
        return Dictionary(uniqueKeysWithValues: setup.files.map { ($0.path, $0.contents) })
    }

    private func text(_ contents: BootFile.Contents?) -> String {
        guard case .text(let text, _)? = contents else { return "" }
        return text
    }

    @Test("the manager of the host's network is detected by its files")
    func whoRunsTheHost() {
        func detect(_ paths: Set<String>, ifstate: String = "") -> HostManager? {
            HostManager.detect(
                exists: { paths.contains($0) },
                read: { $0 == "/run/network/ifstate" && !ifstate.isEmpty ? Array(ifstate.utf8) : nil })
        }
        let systemd = "/run/systemd/system"
        let networkd = "/run/systemd/netif/state"
        let hooks = "/etc/network/if-up.d"
        #expect(detect([]) == nil)
        #expect(detect([systemd]) == .unit)
        #expect(detect([systemd, networkd]) == .networkd)
        // A file of another machine's networkd in a container's /run.
        #expect(detect([networkd]) == nil)
        #expect(detect([systemd, hooks], ifstate: "lo=lo\n") == .unit)
        #expect(detect([systemd, hooks], ifstate: "lo=lo\neth0=eth0\n") == .ifupdown)
        #expect(detect([hooks], ifstate: "eth0=eth0\n") == .ifupdown)
        #expect(detect([systemd, networkd, hooks], ifstate: "eth0=eth0\n") == .networkd)
    }

    @Test("each written file is among the paths of the set-up and has its header")
    func everyFileIsFoundAgain() {
        for namespace in [nil, "blue"] {
            let paths = Set(BootSetup.paths(namespace: namespace))
            for manager in HostManager.allCases where namespace == nil || manager == .unit {
                let files = files(manager, namespace: namespace)
                #expect(paths.isSuperset(of: files.keys))
                for case .text(let text, _) in files.values { #expect(text.contains(BootFile.header)) }
            }
        }
        #expect(Set(BootSetup.paths(namespace: nil)).isDisjoint(with: BootSetup.paths(namespace: "blue")))
    }

    @Test("the unit runs the set-up with its arguments, and again when nftables restarts")
    func theUnit() {
        let files = files(.unit, arguments: ["--mss", "1400"])
        #expect(files.count == 4)
        #expect(text(files["/etc/ipvsd/realserver.vips"]).hasSuffix("\n10.0.0.100\n10.0.0.101\n"))
        let unit = text(files["/etc/systemd/system/ipvsd-realserver.service"])
        #expect(
            unit.contains(
                "\nExecStart=/usr/sbin/ipvsd realserver-setup --vip-file /etc/ipvsd/realserver.vips --mss 1400\n"))
        #expect(!unit.contains("NetworkNamespacePath"))
        #expect(
            files["/etc/systemd/system/multi-user.target.wants/ipvsd-realserver.service"]
                == .link(to: "/etc/systemd/system/ipvsd-realserver.service"))
        let restart = "-/bin/systemctl --no-block restart ipvsd-realserver.service\n"
        #expect(
            text(files["/etc/systemd/system/nftables.service.d/ipvsd-realserver.conf"])
                .hasSuffix("[Service]\nExecStartPost=\(restart)ExecReload=\(restart)"))
    }

    @Test("the unit of a network namespace has its path and its own list")
    func theUnitOfANamespace() {
        let files = files(.unit, namespace: "blue")
        let unit = text(files["/etc/systemd/system/ipvsd-realserver-blue.service"])
        #expect(unit.contains("\nNetworkNamespacePath=/run/netns/blue\n"))
        #expect(unit.contains("--vip-file /etc/ipvsd/realserver-blue.vips\n"))
        #expect(files.count == 3)
        #expect(!files.keys.contains { $0.contains("nftables") })
    }

    @Test("networkd gets a file that leaves tunl0 unmanaged")
    func networkdIsToldToLeaveItAlone() {
        let files = files(.networkd)
        #expect(files.count == 5)
        #expect(
            text(files["/etc/systemd/network/00-ipvsd-realserver.network"])
                .hasSuffix("[Match]\nName=tunl0\n\n[Link]\nUnmanaged=yes\n"))
    }

    @Test("the hook of ifupdown and the unit share a lock")
    func theScriptOfIfupdown() {
        let files = files(.ifupdown)
        #expect(files.count == 5)
        guard case .text(let text, let isExecutable)? = files["/etc/network/if-up.d/ipvsd-realserver"] else {
            Issue.record("no script")
            return
        }
        #expect(isExecutable)
        #expect(text.hasPrefix("#!/bin/sh\n"))
        let command = "flock -w 30 /run/lock/ipvsd-realserver /usr/sbin/ipvsd realserver-setup"
        #expect(text.hasSuffix(" \(command) --vip-file /etc/ipvsd/realserver.vips\n"))
        // The unit takes the lock of the script, so that one waits for the other.
        let unit = self.text(files["/etc/systemd/system/ipvsd-realserver.service"])
        #expect(unit.contains("\nExecStart=/usr/bin/\(command) "))
    }

    @Test("ifupdown without systemd gets no unit")
    func ifupdownAloneGetsNothingOfSystemd() {
        let files = files(.ifupdown, hasSystemd: false)
        #expect(files.keys.sorted() == ["/etc/ipvsd/realserver.vips", "/etc/network/if-up.d/ipvsd-realserver"])
    }

    @Test("words are quoted for units and for shells")
    func wordsAreQuoted() {
        #expect(BootSetup.unitWord("/usr/sbin/ipvsd") == "/usr/sbin/ipvsd")
        #expect(BootSetup.unitWord("/a b/100%$x") == "\"/a b/100%%$$x\"")
        #expect(BootSetup.unitWord("a\"b\\") == "\"a\\\"b\\\\\"")
        #expect(BootSetup.unitWord("") == "\"\"")
        #expect(BootSetup.shellWord("/usr/sbin/ipvsd") == "/usr/sbin/ipvsd")
        #expect(BootSetup.shellWord("it's $x") == "'it'\\''s $x'")
        #expect(BootSetup.shellWord("") == "''")
    }
}
