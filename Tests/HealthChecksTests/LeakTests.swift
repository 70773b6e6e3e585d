import CLinux
import Glibc
import LoadBalancing
import NIOPosix
import NIOSSL
import Testing

@testable import HealthChecks

/// The descriptors, threads and processes that failed checks leave. Each test runs in a process of its own, in which
/// nothing else opens descriptors.
struct LeakTests {
    /// Returns checks that fail, at every stage. The arguments are ports of servers. `silent` sends nothing, `greets`
    /// sends the beginning of a response, `http2` speaks HTTP/2 without an answer, and `deaf` receives datagrams.
    static func failing(silent: UInt16, greets: UInt16, http2: UInt16, deaf: UInt16) throws -> [(Check, Check.Way)] {
        let direct = Check.Way.direct(Loopback.address)
        let question = try DNSQuestion(name: "x", type: DNSRecordType(code: 1))
        let tls = TLSOptions()
        var all: [(Check, Check.Way)] = [
            (.http(HTTPCheck(port: http2, version: .http2)), direct),
            (.grpc(GRPCHealthCheck(port: http2)), direct),
            (.udp(UDPCheck(port: deaf, payload: [1])), direct),
            (.dns(DNSCheck(port: deaf, question: question)), direct),
            (.udp(UDPCheck(port: 1, payload: [1])), direct),
            (.echo(EchoCheck()), Loopback.blackhole),
            (.mtu(try MTUCheck()), Loopback.blackhole),
            (.script(try ScriptCheck(arguments: ["/bin/sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"])), direct),
            (.script(try ScriptCheck(arguments: ["/bin/sh", "-c", "sleep 1000 & exit 1"])), direct),
            (.script(try ScriptCheck(arguments: ["/nonexistent"])), direct),
            (.file(try FileCheck(path: "/nonexistent")), direct),
            (.file(try FileCheck(path: "/proc/self/status")), direct),
        ]
        for (port, way) in [(1, direct), (silent, direct), (greets, direct), (9, Loopback.blackhole)] {
            all += [
                (.tls(TLSCheck(port: port)), way), (.http(HTTPCheck(port: port)), way),
                (.http(HTTPCheck(port: port, tls: tls)), way), (.http(HTTPCheck(port: port, version: .http2)), way),
                (.grpc(GRPCHealthCheck(port: port, tls: tls)), way), (.smtp(SMTPCheck(port: port)), way),
                (.dns(DNSCheck(port: port, transport: .tcp, question: question)), way),
            ]
        }
        return all
    }

    @Test("a failed check leaves no descriptor, thread or process")
    func nothingIsLeft() async {
        await #expect(processExitsWith: .success) {
            // The servers' descriptors are counted, too. A server closes a connection once the check has closed it.
            let servers = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let checker = Checker(group: group)
            let greeting = Part.replies("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", greeting: "220-")
            try await LoopbackServer.stream(Part(), group: servers) { silent in
                try await LoopbackServer.stream(greeting, group: servers) { greets in
                    try await LoopbackServer.http2(StreamPart(), group: servers) { http2 in
                        try await LoopbackServer.datagram(group: servers, reply: { _ in nil }) { deaf in
                            let checks = try LeakTests.failing(
                                silent: silent, greets: greets, http2: http2, deaf: deaf)
                            func round(_ times: Int) async {
                                await withTaskGroup(of: (Check, CheckVerdict).self) { tasks in
                                    for (check, way) in Array(repeating: checks, count: times).joined() {
                                        tasks.addTask {
                                            (check, await checker.run(check, by: way, deadline: .milliseconds(500)))
                                        }
                                    }
                                    for await (check, verdict) in tasks {
                                        #expect(!verdict.isPassed, "\(check)")
                                    }
                                }
                            }
                            // The first rounds create what stays open: thread pools, and the descriptors of epoll and
                            // timers.
                            await round(3)
                            var before: LeakTests.Inventory?
                            #expect(
                                await eventually {
                                    let now = LeakTests.Inventory()
                                    defer { before = now }
                                    return before == now && now.children == 0
                                })
                            #expect(checks.count * 6 >= 200)
                            for _ in 0..<2 { await round(3) }
                            let known = try #require(before)
                            #expect(await eventually { !LeakTests.Inventory().hasMore(than: known) })
                        }
                    }
                }
            }
        }
    }

    struct Inventory: Equatable, CustomStringConvertible {
        var descriptors = count("/proc/self/fd")
        var threads = count("/proc/self/task")
        /// The number 1 if there is any child process, ended or not, and else 0.
        var children = waitid(P_ALL, 0, nil, WEXITED | WNOHANG | WNOWAIT) == 0 ? 1 : 0

        /// Whether any count is larger than in `other`. Smaller counts are no leak, as thread pools may shrink.
        func hasMore(than other: Inventory) -> Bool {
            descriptors > other.descriptors || threads > other.threads || children > other.children
        }

        var description: String { "\(descriptors) descriptors, \(threads) threads, \(children) children" }

        private static func count(_ path: String) -> Int {
            guard let directory = opendir(path) else { return -1 }
            defer { closedir(directory) }
            var count = 0
            while readdir(directory) != nil { count += 1 }
            return count
        }
    }

    /// A firewall rule in a network namespace drops packets with one of two marks.
    @Test("the sockets of every check carry the mark")
    func socketsAreMarked() async {
        await #expect(processExitsWith: .success) {
            // No thread may exist before the change of the namespace.
            guard clinux_unshare_network() == 0,
                system(
                    """
                    ip link set lo up && nft 'add table ip t; add chain ip t o { type filter hook output priority 0; };
                    add rule ip t o meta mark 7 drop'
                    """) == 0
            else {
                Issue.record("no namespace")
                return
            }
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let checker = Checker(group: group)
            let question = try DNSQuestion(name: "x", type: DNSRecordType(code: 1))
            for check in [
                Check.echo(EchoCheck()), .mtu(try MTUCheck()), .tcp(TCPCheck(port: 1)), .tls(TLSCheck(port: 1)),
                .http(HTTPCheck(port: 1)),
                .http(HTTPCheck(port: 1, version: .http2)), .grpc(GRPCHealthCheck(port: 1)),
                .smtp(SMTPCheck(port: 1)), .udp(UDPCheck(port: 1, payload: [1])),
                .dns(DNSCheck(port: 1, question: question)),
                .dns(DNSCheck(port: 1, transport: .tcp, question: question)),
            ] {
                for (mark, deadline) in [(UInt32(7), Duration.milliseconds(200)), (8, .seconds(30))] {
                    let way = Loopback.way(to: Loopback.address, mark: mark)
                    let verdict = await checker.run(check, by: way, deadline: deadline)
                    let reason = if case .failed(let failure) = verdict { failure.reason } else { "passed" }
                    let arrived = reason == "passed" || reason.hasSuffix(": Connection refused")
                    #expect(arrived == (mark == 8), "\(check), mark \(mark): \(reason)")
                }
            }
        }
    }
}
