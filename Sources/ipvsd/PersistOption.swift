import Addresses
import HostState
import RealServerSetup
import ServiceConfiguration
import SystemCalls

/// The meaning of `realserver-setup --persist` and `--persist-by` on this host, in this network namespace.
struct PersistOption {
    static let accepted = HostManager.allCases.map(\.rawValue).joined(separator: ", ")

    /// The program of `--persist-by`; nil: the program that runs this host's network.
    private let manager: HostManager?

    init() { manager = nil }

    init(by text: String) throws {
        guard let manager = HostManager(rawValue: text) else {
            throw Failure(.badValue, "--persist-by \(text): unknown (accepted: \(Self.accepted))")
        }
        self.manager = manager
    }

    /// Returns the set-up at each start, with the VIPs of earlier runs before the new ones.
    func bootSetup(_ vips: [IPAddress], arguments: [String]) throws -> BootSetup {
        let (manager, namespace) = try place()
        guard let program = File.link("/proc/self/exe") else {
            throw Failure(.kernel, "--persist: /proc is not mounted, so that this program's path is unknown")
        }
        let file = BootSetup.vipFile(namespace: namespace)
        let earlier = File.exists(file) ? try Self.addresses(file: file) : []
        return BootSetup(
            manager: manager, vips: earlier + vips.filter { !earlier.contains($0) }, program: program,
            arguments: arguments, namespace: namespace)
    }

    private func place() throws -> (HostManager, namespace: String?) {
        if InstancePaths.isInitialNetworkNamespace {
            guard let manager = manager ?? HostManager.running else {
                throw Failure(
                    .kernel,
                    "--persist: neither systemd nor ifup runs here, so that nothing would set it up after a restart "
                        + "(accepted: this command where the machine or container is started, or --persist-by, for another)"
                )
            }
            return (manager, nil)
        }
        guard let namespace = InstancePaths.networkNamespaceName, InstancePaths.isValid(name: namespace) else {
            throw Failure(
                .kernel,
                "--persist: this network namespace has no name in /run/netns by which it could be found after a restart "
                    + "(accepted: without --persist, where the container is started)")
        }
        guard manager ?? .unit == .unit else {
            throw Failure(
                .badValue,
                "--persist-by \(manager?.rawValue ?? ""): that runs the machine's own network, not namespace \(namespace) (accepted: unit)"
            )
        }
        guard manager != nil || HostManager.hasSystemd else {
            throw Failure(
                .kernel,
                "--persist: systemd does not run here, so that nothing would set up \(namespace) after a restart")
        }
        return (.unit, namespace)
    }

    static func addresses(file: String) throws -> [IPAddress] {
        let text = String(decoding: try read(file), as: UTF8.self)
        do { return try AddressFile.addresses(text, name: file) } catch { throw Failure(.badValue, "\(error)") }
    }

    private static func read(_ file: String) throws -> [UInt8] {
        do { return try File.read(file) } catch {
            throw Failure(.badValue, "--vip-file \(file): \(error) (accepted: a file of one A.B.C.D a line)")
        }
    }
}
