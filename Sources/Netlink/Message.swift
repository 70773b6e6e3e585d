internal import CLibMNL

/// One received netlink message (`nlmsghdr` and what follows).
struct Message {
    let type: Int
    let flags: Int32
    let sequence: UInt32
    let port: UInt32
    /// Behind `nlmsghdr`.
    let payload: Payload

    /// The messages of one datagram. What is left behind a broken length is not looked at.
    static func split(_ datagram: [UInt8]) -> [Message] {
        var messages: [Message] = []
        var rest = datagram[...]
        while let header = Payload(rest).structure(nlmsghdr.self) {
            let length = Int(header.nlmsg_len)
            guard length >= MemoryLayout<nlmsghdr>.size, length <= rest.count else { break }
            messages.append(
                Message(
                    type: Int(header.nlmsg_type), flags: Int32(header.nlmsg_flags), sequence: header.nlmsg_seq,
                    port: header.nlmsg_pid,
                    payload: Payload(rest.prefix(length).dropFirst(MemoryLayout<nlmsghdr>.size))))
            rest = rest.dropFirst((length + 3) & ~3)
        }
        return messages
    }

    /// The family's fixed header and the attributes behind it; nil where the message is too short.
    func body<Header: BitwiseCopyable>(_: Header.Type) -> (header: Header, attributes: Attributes)? {
        guard let header = payload.structure(Header.self) else { return nil }
        return (header, Attributes(payload.dropFirst(MemoryLayout<Header>.size)))
    }

    /// What an acknowledgement (NLMSG_ERROR) or the end of a dump (NLMSG_DONE) says: an errno, 0 for success, and the
    /// kernel's extended message.
    var outcome: (code: Int32, detail: String?)? {
        guard type == NLMSG_ERROR || type == NLMSG_DONE else { return nil }
        let code = -(payload.structure(Int32.self) ?? 0)
        guard flags & NLM_F_ACK_TLVS != 0 else { return (code, nil) }
        var attributes = payload.dropFirst(MemoryLayout<Int32>.size)
        if type == NLMSG_ERROR, let request = attributes.structure(nlmsghdr.self) {
            // The request is quoted: its header alone if capped, else whole.
            let quoted = flags & NLM_F_CAPPED != 0 ? MemoryLayout<nlmsghdr>.size : Int(request.nlmsg_len)
            attributes = attributes.dropFirst((quoted + 3) & ~3)
        }
        return (code, Attributes(attributes)[NLMSGERR_ATTR_MSG]?.string)
    }
}
