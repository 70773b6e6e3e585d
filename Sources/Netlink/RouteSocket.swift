internal import CLibMNL
import Glibc

/// A socket that reads and changes links, addresses, routes, rules and neighbours of the network namespace where it was
/// opened (rtnetlink(7)). Calls block for microseconds. It has one owner at a time.
public final class RouteSocket {
    private let socket: NetlinkSocket
    private var sequence: UInt32 = 0
    private static let dumpAttempts = 10

    public init() throws(NetlinkError) { socket = try NetlinkSocket(blocking: true) }

    /// Sends a request and returns the answers that came before its acknowledgement.
    @discardableResult
    func request(_ message: MessageBuilder, _ operation: @autoclosure () -> String) throws(NetlinkError) -> [Message] {
        try request(message, unless: [], operation()) ?? []
    }

    /// Does the same, but returns nil if the request fails with one of `codes`. Such a code means that the request's
    /// subject is missing, or is there already.
    func request(
        _ message: MessageBuilder, unless codes: [Int32], _ operation: @autoclosure () -> String
    ) throws(NetlinkError) -> [Message]? {
        let reply = exchange(message, flags: NLM_F_ACK)
        if codes.contains(reply.code) { return nil }
        if reply.code != 0 { throw NetlinkError(operation(), code: reply.code, detail: reply.detail) }
        return reply.messages
    }

    /// Does the same, but returns only whether the request changed something. False: the request failed with one of
    /// `codes`.
    func change(
        _ message: MessageBuilder, unless codes: [Int32], _ operation: @autoclosure () -> String
    ) throws(NetlinkError) -> Bool {
        try request(message, unless: codes, operation()) != nil
    }

    /// Returns a whole table, which is empty if the request fails with one of `codes`. A table that changed during the
    /// dump (NLM_F_DUMP_INTR) may lack entries, and is read again.
    func dump(
        _ message: MessageBuilder, emptyIf codes: [Int32] = [], _ operation: @autoclosure () -> String
    ) throws(NetlinkError) -> [Message] {
        for _ in 0..<Self.dumpAttempts {
            let reply = exchange(message, flags: NLM_F_ROOT | NLM_F_MATCH)
            // Newer kernels end an interrupted dump of some tables with EINTR.
            if reply.code == EINTR { continue }
            if codes.contains(reply.code) { return [] }
            if reply.code != 0 { throw NetlinkError(operation(), code: reply.code, detail: reply.detail) }
            if !reply.messages.contains(where: { $0.flags & NLM_F_DUMP_INTR != 0 }), !reply.interrupted {
                return reply.messages
            }
        }
        throw NetlinkError(operation(), code: EAGAIN, detail: "the table changes faster than it can be read")
    }

    private struct Reply {
        var messages: [Message] = []
        var code: Int32 = 0
        var detail: String?
        var interrupted = false
    }

    private func exchange(_ message: MessageBuilder, flags: Int32) -> Reply {
        sequence &+= 1
        var reply = Reply()
        reply.code = socket.send(message.finished(sequence: sequence, flags: flags))
        while reply.code == 0 {
            switch socket.receive() {
            case .failure(let failure):
                // A time-out is EAGAIN here, whose text would be "try again".
                reply.code = failure.code == EAGAIN ? ETIMEDOUT : failure.code
            case .success(let messages):
                // A message with another sequence number answers an earlier request, which timed out.
                for message in messages where message.sequence == sequence && message.port == socket.port {
                    guard let outcome = message.outcome else {
                        reply.messages.append(message)
                        continue
                    }
                    reply.interrupted = message.flags & NLM_F_DUMP_INTR != 0
                    reply.code = outcome.code
                    reply.detail = outcome.detail
                    return reply
                }
            }
        }
        return reply
    }
}
