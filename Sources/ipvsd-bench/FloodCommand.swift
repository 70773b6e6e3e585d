import Addresses
import ArgumentParser
import BPF
import Glibc
import Netlink
import Packets

/// `ipvsd-bench flood`: SYNs of made-up clients for a running director.
struct FloodCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flood",
        abstract: "Gives SYNs of as many made-up clients to a running director's program.",
        discussion: """
            The packets go into the pinned program by BPF test runs, so that its tables fill as they would in a flood, \
            and nothing goes out. Each SYN is from another client. The first client is 10.0.64.0 with port 1024.
            """)

    @Option(
        help: ArgumentHelp(
            "The director's program, as below /sys/fs/bpf/ipvsd/netns-COOKIE/director.", valueName: "path"))
    var program: String

    @Option(help: ArgumentHelp("The VIP of the service, whose port is 80.", valueName: "address"))
    var vip: String

    @Option(help: ArgumentHelp("The MAC address of the director's interface.", valueName: "address"))
    var mac: String

    @Option(help: "The number of clients.")
    var clients = 1_000_000

    @Flag(help: "Send an ACK of each client after its SYN.")
    var pairs = false

    private static let atOnce = 1 << 16

    func run() throws {
        silenceLibbpf()
        guard let vip = IPv4Address(vip) else { throw ValidationError("--vip: no IPv4 address") }
        let bytes = mac.split(separator: ":").compactMap { UInt8($0, radix: 16) }
        guard MACAddress(bytes) != nil else { throw ValidationError("--mac: no MAC address, as 02:00:00:00:00:01") }
        let destination = bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
        guard (1...1_000_000_000).contains(clients) else { throw ValidationError("--clients: 1 to 1000000000") }
        guard let director = try BPFProgram(pinnedAt: program) else {
            throw ValidationError("--program: nothing is pinned at \(program)")
        }
        let pins = try PinDirectory()
        let harness = try BPFObject(.bench_packets)
        for name in ["measured", "sequences"] { try harness.setPinPath("\(pins.path)/\(name)", ofMap: name) }
        try harness.load()
        try pins.map("measured", UInt32.self).update(UInt32(director.descriptor), for: 0)
        let sequence = try pins.map("sequences", PacketSequence.self).memory(writable: true)
        let generator = try harness.program(named: "next_packet")
        let syn = PacketKind(name: "SYN", vip: vip).packet
        let ack = PacketKind(name: "ACK", vip: vip, flows: 1).packet
        let packets = pairs ? [syn, ack] : [syn]

        var sent = 0
        var forwarded: UInt64 = 0
        var time: UInt64 = 0
        while sent < clients {
            let times = min(clients - sent, Self.atOnce)
            for packet in packets {
                sequence[0] = PacketSequence(
                    flow: UInt64(1 << 28 + sent), flows: 0, frame: UInt64(packet.count), portMask: 0, bucketMask: 0,
                    macs: 0x0002 << 48 | destination)
                let run = try generator.run(packet: packet, times: times)
                // next_packet counts a packet when it sees the next one, so the last packet is missing from the count.
                forwarded += sequence[0].encapsulated + (run.packet.count == packet.count + IPv4.length ? 1 : 0)
                time += run.cpuTime
            }
            sent += times
        }
        let total = clients * packets.count
        print("\(total) packets, \(forwarded) forwarded, \(time / UInt64(total)) ns of CPU time each")
    }
}
