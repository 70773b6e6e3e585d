import ArgumentParser
import Capture
import DataPlane
import Director
import Glibc
import HostState
import LoadBalancing
import ServiceConfiguration
import Synchronization
import SystemCalls
import XDPDataPlane

/// `ipvsd capture`: the director's packets before and after encapsulation.
struct CaptureCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "capture",
        abstract: "Show packets before and after encapsulation.",
        discussion: """
            tcpdump does not see packets that leave by XDP, and on some drivers none that arrive. This command shows every \
            packet that the director counts, as it came in and as it leaves, with its verdict. With -w the output is \
            pcapng for tcpdump and Wireshark: a comment has the verdict, and both frames have the same packet id \
            (frame.packet_id). Filters combine, and are applied in the kernel.

              ipvsd capture --client 198.51.100.7 --vip 10.0.0.100:443
              ipvsd capture --reason dropped,answered -c 20
              ipvsd capture -w - --server 10.0.0.11 | tcpdump -r - -nv

            A capture works with and without the daemon. It goes on, with a remark, when a reload or another daemon swaps \
            the director's program, and ends when there is none any more. It counts and reports packets for which its \
            buffer had no room. It ends on SIGINT and SIGTERM, too, and when nobody reads its output. Its two tracing \
            programs (fentry, fexit) leave with the process, however that ends. Without a capture they cost nothing.

            Exit codes: 3 no director's program is on an interface (any more), 64 a bad value, 71 the kernel does not \
            let programs be traced, 74 not all could be written, 77 no privilege.
            """)

    @Option(
        name: [.customShort("w"), .customLong("write")],
        help: ArgumentHelp("Write pcapng to this file, or with - to standard output.", valueName: "file"),
        completion: .file())
    var file: String?

    @Option(name: [.short, .long], help: ArgumentHelp("End after this number of packets.", valueName: "n"))
    var count: UInt64?

    @Option(help: ArgumentHelp("End after this number of seconds.", valueName: "n"))
    var seconds: UInt32?

    @Option(
        help: ArgumentHelp(
            "Keep this number of bytes of a frame, 14 to \(CaptureFilter.maximumSnaplen).", valueName: "n"))
    var snaplen = CaptureFilter.maximumSnaplen

    @Option(
        help: ArgumentHelp(
            "Only packets of this client, as A.B.C.D, A.B.C.D:PORT or A.B.C.D/LENGTH; also ICMP errors about its connections.",
            valueName: "address"))
    var client: String?

    @Option(
        help: ArgumentHelp(
            "Only packets to this VIP, or to one port of it as A.B.C.D:PORT[/udp]. Later fragments have no port: all of the "
                + "VIP's are shown.", valueName: "address"))
    var vip: String?

    @Option(help: ArgumentHelp("Only packets that are forwarded to this real server.", valueName: "address"))
    var server: String?

    @Option(help: ArgumentHelp("Only frames that come in, or leave: in, out, both.", valueName: "way"))
    var direction = "both"

    @Option(
        help: ArgumentHelp(
            "Only packets that 'ipvsd status' counts as: \(CaptureReason.groups.joined(separator: ", ")), or a name, "
                + "as dropped-no-next-hop or rescheduled. Repeats, or takes commas.", valueName: "name"))
    var reason: [String] = []

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            let filter = try filter()
            let directory = try common.instance().existingBPFDirectory()
            guard let directory else {
                try requireRoot(to: "look for the director")
                throw Failure(.noDaemon, "no director runs here, and there is no data plane")
            }
            do {
                try capture(filter, directory)
            } catch let error as CaptureError {
                throw Failure(error)
            } catch let failure as Failure {
                throw failure
            } catch {
                throw Failure(DirectorError(error))
            }
        }
    }

    private func capture(_ filter: CaptureFilter, _ directory: String) throws {
        StopSignals.trap()
        let tap = try Tap(directory: directory, filter: filter)
        let sink = try CaptureSink(path: file)
        var run = try CaptureRun(
            tap: tap, output: file == nil ? TextOutput() : PcapNGOutput(snaplen: filter.snaplen), directory: directory,
            isStopped: { StopSignals.came }, write: sink.write, say: Failure.write)
        run.count = count
        run.duration = seconds.map { .seconds($0) }
        Failure.write("capturing; SIGINT ends it")
        let report = try run.run()
        Failure.write("\(report.packets) packets captured, \(report.lost) lost because the buffer was full")
        if report.ending == .directorGone {
            throw Failure(.noDaemon, "no interface has the director's program any more: it was stopped")
        }
    }

    private func filter() throws -> CaptureFilter {
        var filter = CaptureFilter()
        if let client {
            (filter.client, filter.clientPort) = try valid("--client \(client)") { () throws(InvalidValue) in
                try AddressText.client(client)
            }
        }
        filter.vip = try vip.map { vip in
            try valid("--vip \(vip)") { () throws(InvalidValue) in try AddressText.service(vip) }
        }
        filter.server = try server.map { server in
            try valid("--server \(server)") { () throws(InvalidValue) in try AddressText.address(server) }
        }
        guard let direction = CaptureFilter.Direction(rawValue: direction) else {
            let accepted = CaptureFilter.Direction.allCases.map(\.rawValue).joined(separator: ", ")
            throw Failure(.badValue, "--direction \(self.direction): unknown way (accepted: \(accepted))")
        }
        filter.direction = direction
        filter.counters = try CaptureReason.counters(reason)
        let lengths = 14...CaptureFilter.maximumSnaplen
        guard lengths.contains(snaplen) else {
            throw Failure(
                .badValue,
                "--snaplen \(snaplen): no such length (accepted: \(lengths.lowerBound) to \(lengths.upperBound))")
        }
        filter.snaplen = snaplen
        if count == 0 { throw Failure(.badValue, "--count 0: no number of packets (accepted: 1 and more)") }
        if seconds == 0 { throw Failure(.badValue, "--seconds 0: no time (accepted: 1 and more)") }
        if file == "-", isatty(STDOUT_FILENO) == 1 {
            throw Failure(.badValue, "--write -: standard output is a terminal (accepted: a pipe or a file)")
        }
        return filter
    }
}

/// The values of `--reason`: names of counters, and of groups of them.
enum CaptureReason {
    static let groups = ["forwarded", "passed", "answered", "dropped"]

    static func counters(_ texts: [String]) throws -> Set<PacketCounter> {
        var counters: Set<PacketCounter> = []
        for name in texts.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false) }) {
            let named = known.filter { $0.name == name || groups.contains(String(name)) && "\($0.group)" == name }
            guard !named.isEmpty else {
                let accepted = (groups + known.map(\.name).filter { !groups.contains($0) }).joined(separator: ", ")
                throw Failure(.badValue, "--reason \(name): unknown name (accepted: \(accepted))")
            }
            counters.formUnion(named)
        }
        return counters
    }

    private static let known = PacketCounter.all.filter { $0.group != .received }
}

extension Failure {
    init(_ error: CaptureError) {
        let code: Code =
            switch error.kind {
            case .noDirector: .noDaemon
            case .noPrivilege: .noPrivilege
            case .kernel: .kernel
            }
        self.init(code, error.description)
    }
}

/// The destination of a capture: a file or standard output, without a buffer.
final class CaptureSink {
    private let descriptor: Int32
    private let name: String

    /// Opens the file; nil and "-" are standard output. The file is emptied, and only its owner may read it, since it
    /// holds clients' data.
    init(path: String?) throws {
        guard let path, path != "-" else {
            (descriptor, name) = (STDOUT_FILENO, "standard output")
            return
        }
        (descriptor, name) = (open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600), path)
        var status = stat()
        guard descriptor >= 0, fstat(descriptor, &status) == 0,
            status.st_mode & S_IFMT != S_IFREG || fchmod(descriptor, 0o600) == 0
        else { throw Failure(.output, "\(SystemError("write \(path)", code: errno))") }
    }

    deinit { if descriptor > STDERR_FILENO { close(descriptor) } }

    /// Writes all bytes. Returns false where the reader has closed its end, or a stop signal interrupts the write.
    func write(_ bytes: [UInt8]) throws -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 { rest = rest.dropFirst(count) }
            guard count < 0 else { continue }
            if errno == EPIPE || errno == EINTR && StopSignals.came { return false }
            if errno != EINTR { throw Failure(.output, "\(SystemError("write \(name)", code: errno))") }
        }
        return hasReader
    }

    private var hasReader: Bool {
        var state = pollfd(fd: descriptor, events: 0, revents: 0)
        return poll(&state, 1, 0) <= 0 || Int32(state.revents) & (POLLERR | POLLHUP) == 0
    }
}

/// SIGINT, SIGTERM and SIGHUP as requests to end. Such a signal ends a system call in progress with EINTR.
enum StopSignals {
    private static let seen = Atomic<Bool>(false)

    static var came: Bool { seen.load(ordering: .relaxed) }

    static func trap() {
        // The first access to `came` initializes `seen`, which a signal handler must not do.
        guard !came else { return }
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in StopSignals.seen.store(true, ordering: .relaxed) }
        for number in [SIGINT, SIGTERM, SIGHUP] { sigaction(number, &action, nil) }
        signal(SIGPIPE, SIG_IGN)
    }
}
