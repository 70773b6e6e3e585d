public import DataPlane
internal import PacketPrograms

extension PacketCounter {
    fileprivate init(_ counter: ipvsd_counter, _ name: String, _ group: Group) {
        self.init(index: Int(counter.rawValue), name: name, group: group)
    }

    /// The counters of the packet program, in the order of the shared header.
    public static let all: [PacketCounter] = [
        PacketCounter(IPVSD_RECEIVED, "received", .received),
        PacketCounter(IPVSD_FORWARDED, "forwarded", .forwarded),
        PacketCounter(IPVSD_PASSED_NO_SERVICE, "passed-no-service", .passed),
        PacketCounter(IPVSD_PASSED_UNKNOWN_PROTOCOL, "passed-unknown-protocol", .passed),
        PacketCounter(IPVSD_PASSED_ICMP_OTHER, "passed-icmp-other", .passed),
        PacketCounter(IPVSD_ANSWERED_ECHO, "answered-echo", .answered),
        PacketCounter(IPVSD_ANSWERED_NO_CONNECTION, "answered-no-connection", .answered),
        PacketCounter(IPVSD_ANSWERED_SERVER_LOST, "answered-server-lost", .answered),
        PacketCounter(IPVSD_ANSWERED_NO_SERVER, "answered-no-server", .answered),
        PacketCounter(IPVSD_ANSWERED_TOO_BIG, "answered-too-big", .answered),
        PacketCounter(IPVSD_DROPPED_BAD_HEADER, "dropped-bad-header", .dropped),
        PacketCounter(IPVSD_DROPPED_TRUNCATED, "dropped-truncated", .dropped),
        PacketCounter(IPVSD_DROPPED_MARTIAN_SOURCE, "dropped-martian-source", .dropped),
        PacketCounter(IPVSD_DROPPED_FRAGMENT, "dropped-fragment-without-first", .dropped),
        PacketCounter(IPVSD_DROPPED_MERGED_FRAME, "dropped-merged-frame", .dropped),
        PacketCounter(IPVSD_DROPPED_TOO_BIG_WITHOUT_DF, "dropped-too-big-without-df", .dropped),
        PacketCounter(IPVSD_DROPPED_TOO_BIG_ICMP_ERROR, "dropped-too-big-icmp-error", .dropped),
        PacketCounter(IPVSD_DROPPED_NO_NEXT_HOP, "dropped-no-next-hop", .dropped),
        PacketCounter(IPVSD_DROPPED_RESET_WITHOUT_CONNECTION, "dropped-reset-without-connection", .dropped),
        PacketCounter(IPVSD_DROPPED_ICMP_WITHOUT_CONNECTION, "dropped-icmp-without-connection", .dropped),
        PacketCounter(IPVSD_DROPPED_ICMP_MALFORMED, "dropped-icmp-malformed", .dropped),
        PacketCounter(IPVSD_DROPPED_REPLY_LIMIT, "dropped-reply-limit", .dropped),
        PacketCounter(IPVSD_DROPPED_INTERNAL, "dropped-internal", .dropped),
        PacketCounter(IPVSD_EVENT_FLOW_TABLE_FULL, "flow-table-full", .event),
        PacketCounter(IPVSD_EVENT_FLOW_EVICTED, "flow-evicted", .event),
        PacketCounter(IPVSD_EVENT_REDERIVED, "rederived-without-connection", .event),
        PacketCounter(IPVSD_EVENT_RESCHEDULED, "rescheduled", .event),
        PacketCounter(IPVSD_EVENT_RESCHEDULED_SILENT, "rescheduled-from-silent-server", .event),
        PacketCounter(IPVSD_EVENT_ICMP_RELAYED, "icmp-error-relayed", .event),
        PacketCounter(IPVSD_EVENT_UNRECORDED, "unrecorded-in-flood", .event),
        PacketCounter(IPVSD_EVENT_FRAGMENTED, "fragmented-after-encapsulation", .event),
    ]
}
