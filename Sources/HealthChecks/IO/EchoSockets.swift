internal import CLinux
internal import Glibc

/// The raw sockets for ICMP echoes. Each pair of a device and a source has a socket while one of its questions is
/// unanswered. Each packet has its own mark.
struct EchoSockets {
    private struct Place: Hashable {
        var source: UInt32
        var device: Int32
    }

    private struct Socket {
        var descriptor: Int32
        var questions = 0
    }

    private struct Question {
        var slot: Slot
        /// The address whose reply counts, in network byte order.
        var destination: UInt32
    }

    private var sockets: [Place: Socket] = [:]
    /// The questions by their names: the identifier in the upper 16 bits, and the sequence number in the lower 16 bits.
    /// Names are random, so that a reply cannot be forged.
    private var questions: [UInt32: Question] = [:]
    /// The names of the questions, by their slots.
    private var names: [Slot: UInt32] = [:]

    /// Sends an echo request. Calls `watch` with the socket's descriptor if the socket is new. Returns 0 or an errno.
    mutating func send(from way: Check.Way.Socket, slot: Slot, watch: (Int32) -> Void) -> Int32 {
        let place = Place(source: way.source, device: way.device)
        if sockets[place] == nil {
            let descriptor = clinux_echo_socket(way.source, way.device)
            guard descriptor >= 0 else { return errno }
            watch(descriptor)
            sockets[place] = Socket(descriptor: descriptor)
        }
        guard let descriptor = sockets[place]?.descriptor else { return EBADF }
        var name = UInt32.random(in: .min ... .max)
        while questions[name] != nil { name = .random(in: .min ... .max) }
        sockets[place]?.questions += 1
        questions[name] = Question(slot: slot, destination: way.destination)
        names[slot] = name
        let (identifier, sequence) = (UInt16(name >> 16), UInt16(truncatingIfNeeded: name))
        return clinux_send_echo(descriptor, way.destination, way.mark, identifier, sequence) == 0 ? 0 : errno
    }

    /// Reads replies from the socket, and returns the slots of the answered questions.
    func receive(from descriptor: Int32) -> [Slot] {
        var answered: [Slot] = []
        var (source, identifier, sequence) = (UInt32(0), UInt16(0), UInt16(0))
        // The loop is bounded, so that a flood of packets cannot block the thread.
        for _ in 0..<1024 {
            guard clinux_receive_echo(descriptor, &source, &identifier, &sequence) == 1 else { break }
            if let question = questions[UInt32(identifier) << 16 | UInt32(sequence)], question.destination == source {
                answered.append(question.slot)
            }
        }
        return answered
    }

    mutating func forget(_ slot: Slot, way: Check.Way.Socket) {
        guard let name = names.removeValue(forKey: slot) else { return }
        questions[name] = nil
        let place = Place(source: way.source, device: way.device)
        guard var socket = sockets[place] else { return }
        socket.questions -= 1
        if socket.questions == 0 { close(socket.descriptor) }
        sockets[place] = socket.questions == 0 ? nil : socket
    }
}
