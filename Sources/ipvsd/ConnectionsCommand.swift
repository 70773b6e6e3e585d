import Addresses
import ArgumentParser
import Glibc
import LoadBalancing
import ServiceConfiguration
import XDPDataPlane

/// `ipvsd connections`: the flow table.
struct Connections: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List connections, in the manner of 'ipvsadm -Lnc'.",
        discussion: """
            Reads the kernel's table in place, and prints while it reads. No daemon is needed. Filters combine.

              ipvsd connections --server 10.0.0.11 --state ESTABLISHED
              ipvsd connections --json | jq -r '.[].client' | sort | uniq -c

            Exit code 3: there is no data plane.
            """)

    @Option(help: ArgumentHelp("Only connections of this client.", valueName: "address"))
    var client: String?

    @Option(
        help: ArgumentHelp("Only those to this VIP, or to one port, as A.B.C.D:PORT[/udp].", valueName: "address"))
    var vip: String?

    @Option(help: ArgumentHelp("Only connections on this real server.", valueName: "address"))
    var server: String?

    @Option(
        help: ArgumentHelp(
            "Only connections in this state: \(Flow.State.allCases.map(\.rawValue).joined(separator: ", ")).",
            valueName: "name"))
    var state: String?

    @Flag(help: "Print only the number of connections.")
    var count = false

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            try requireRoot()
            let filter = try filter()
            guard let flows = try XDPHost.flows(common.instance()) else {
                throw Failure(.noDaemon, "no director runs here, and there is no data plane")
            }
            var number = 0
            if !count {
                print(json ? "[" : "Prot Expires State       Client                Virtual               RealServer")
            }
            flows.forEach { flow in
                guard filter.matches(flow) else { return }
                if !count { print(json ? (number == 0 ? "" : ",") + Self.json(flow) : line(flow)) }
                number += 1
            }
            if count { print(json ? Self.json(count: number) : "\(number)") } else if json { print("]") }
        }
    }

    private func line(_ flow: Flow) -> String {
        let seconds = flow.remaining.components.seconds
        let expires = "\(seconds / 60):\(seconds % 60 < 10 ? "0" : "")\(seconds % 60)"
        return [
            flow.transport.rawValue.uppercased().padded(to: 4), expires.padded(to: 7),
            flow.state.rawValue.padded(to: 11),
            "\(flow.client):\(flow.clientPort)".padded(to: 21), "\(flow.vip):\(flow.port)".padded(to: 21),
            "\(flow.server)",
        ].joined(separator: " ")
    }

    static func json(count: Int) -> String { "{\"count\":\(count)}" }

    /// Returns the object of one connection. Addresses, numbers and names need no escapes.
    static func json(_ flow: Flow) -> String {
        let seconds = flow.remaining.components.seconds
        return """
            {"protocol":"\(flow.transport.rawValue)","client":"\(flow.client)","clientPort":\(flow.clientPort),\
            "vip":"\(flow.vip)","port":\(flow.port),"server":"\(flow.server)","state":"\(flow.state.rawValue)",\
            "expires":\(seconds)}
            """
    }

    private struct Filter {
        var client: IPAddress?
        var service: ServiceAddress?
        var server: IPAddress?
        var state: Flow.State?

        func matches(_ flow: Flow) -> Bool {
            (client ?? flow.client) == flow.client && (server ?? flow.server) == flow.server
                && (state ?? flow.state) == flow.state && (service.map { serves($0, flow) } ?? true)
        }

        private func serves(_ service: ServiceAddress, _ flow: Flow) -> Bool {
            service.vip == flow.vip && (service.port ?? flow.port) == flow.port
                && (service.transport ?? flow.transport) == flow.transport
        }
    }

    private func filter() throws -> Filter {
        func address(_ flag: String, _ text: String?) throws -> IPAddress? {
            guard let text else { return nil }
            return try valid("\(flag) \(text)") { () throws(InvalidValue) in try AddressText.address(text) }
        }
        var filter = Filter(client: try address("--client", client), server: try address("--server", server))
        if let vip {
            filter.service = try valid("--vip \(vip)") { () throws(InvalidValue) in try AddressText.service(vip) }
        }
        if let state {
            guard let known = Flow.State(rawValue: state.uppercased()) else {
                let accepted = Flow.State.allCases.map(\.rawValue).joined(separator: ", ")
                throw Failure(.badValue, "--state \(state): unknown state (accepted: \(accepted))")
            }
            filter.state = known
        }
        return filter
    }
}
