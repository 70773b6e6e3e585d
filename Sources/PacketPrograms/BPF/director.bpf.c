// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The packet program: parse, VIP, service, connection or scheduler, encapsulate, send. Every packet for a VIP that has
 * the director's MAC counts as received, and ends in exactly one other counter. */
#include "conn_insert.h"
#include "fastpath.h"
#include "flood.h"
#include "flows.h"
#include "foreign.h"
#include "forward.h"
#include "fragments.h"
#include "icmp_rst.h"
#include "listeners.h"
#include "maps.h"
#include "packet.h"
#include "persistence.h"
#include "schedule.h"
#include "silence.h"
#include "sweep.h"
#include "trace.h"

/* Counts a new connection of the server. The server's row stays in `packet->total`, so that count_forwarded need not
 * look it up again, which takes a call. */
static __always_inline void count_connection(struct packet *packet, __u32 server_id)
{
	packet->total = bpf_map_lookup_elem(&statistics, &server_id);
	if (packet->total)
		WRITE(packet->total->connections++);
}

/* Records a flow to the chosen server, and returns the server. Where the table has no room, it returns the server that
 * every director chooses instead, so that the flow's packets need no entry. Returns 0 where there is no server.
 * `limited`: see select_server. `opens`: the packet is a SYN without ACK and RST. */
static __always_inline __u32 new_conn(struct packet *packet, const struct service_entry *entry,
				      const struct flow_reference *flow, struct flow_entry previous, __u32 server,
				      bool limited, __u32 state, bool opens)
{
	enum recorded recorded;

	if (!server)
		return 0;
	recorded = record(packet, flow, previous, server, state, opens);
	if (recorded) {
		if (opens && recorded != RECORDED_WITH_SYN)
			count_unanswered(server);
		if (limited)
			note_connection(server);
	} else {
		count(packet, IPVSD_EVENT_FLOW_TABLE_FULL);
		mark_overflow(flow->bucket_index, flow->now);
		server = stateless_server(entry, packet->client, packet->client_port);
		TRACE(trace.occasion = IPVSD_OCCASION_NO_ROOM);
		trace_choice(server);
		if (opens)
			count_unanswered(server);
	}
	/* Without an entry, every datagram would count as a new connection. */
	if (recorded || packet->protocol == IPPROTO_TCP)
		count_connection(packet, server);
	return server;
}

/* Refreshes a flow, and with it the client's template. `proves`: the packet proves the client. */
static __always_inline void refresh_conn(const struct packet *packet, const struct service_entry *entry,
					 const struct flow_reference *flow, struct flow_entry hit, __u32 state,
					 bool proves, __u32 left)
{
	if (refresh(flow, hit, state, longest_lag(entry)) && entry->flags & IPVSD_SERVICE_PERSISTENT)
		keep_up_template(entry->id, packet->client, proves ? ipvsd_flow_server(hit.value) : 0, left);
}

static __always_inline void learn_port(const struct packet *packet, const struct service_entry *entry)
{
	struct ipvsd_port key = { .id = entry->id, .port = packet->port };
	__u64 now = bpf_ktime_get_coarse_ns(), *last = bpf_map_lookup_elem(&learnt_ports, &key);

	if (last)
		WRITE(*last = now);
	else
		WRITE(bpf_map_update_elem(&learnt_ports, &key, &now, BPF_NOEXIST));
}

static __always_inline struct verdict on_udp(struct packet *packet, const struct service_entry *entry,
					     struct flow_reference *flow, struct flow_entry hit)
{
	__u32 server = hit.entry ? ipvsd_flow_server(hit.value) : 0;
	bool limited;

	if (entry->flags & IPVSD_SERVICE_ONE_PACKET) {
		/* The service does not use entries, even those from before it became a one-packet service. */
		TRACE(trace.flow_value = 0);
		TRACE(trace.recording = IPVSD_RECORDING_NONE);
		TRACE(trace.occasion = IPVSD_OCCASION_ONE_PACKET);
		server = select_server(entry, packet->client, packet->client_port, IPVSD_SERVER_LEFT_BY_DATAGRAMS,
				       &limited);
		trace_choice(server);
		count_connection(packet, server);
		return to_server(server);
	}
	if (server && !server_has(server, IPVSD_SERVER_DOWN | IPVSD_SERVER_LEFT)) {
		refresh_conn(packet, entry, flow, hit, IPVSD_STATE_UDP, true, IPVSD_SERVER_LEFT_BY_DATAGRAMS);
		return to_server(server);
	}
	/* An entry without refreshes expires, even while its client goes on. */
	if (server && entry->flags & IPVSD_SERVICE_FINISHES && !server_has(server, IPVSD_SERVER_DOWN)) {
		TRACE(trace.fate = IPVSD_FATE_FINISHING);
		return to_server(server);
	}
	if (server) {
		count(packet, IPVSD_EVENT_RESCHEDULED);
		trace_rescheduled(IPVSD_FATE_SERVER_LOST, IPVSD_OCCASION_SERVER_LOST);
	}
	server = select_server(entry, packet->client, packet->client_port, IPVSD_SERVER_LEFT_BY_DATAGRAMS, &limited);
	trace_choice(server);
	return to_server(new_conn(packet, entry, flow, hit, server, limited, IPVSD_STATE_ONE_DATAGRAM, false));
}

static __always_inline bool carries_data(const struct packet *packet, const struct tcphdr *tcp)
{
	return packet->tot_len > packet->header_length + tcp->doff * 4u;
}

/* Whether a packet without an entry may belong to a connection that was not recorded. */
static __always_inline bool may_be_unrecorded(const struct packet *packet, const struct service_entry *entry,
					      const struct flow_reference *flow)
{
	return is_hash_based(entry->service) || has_overflowed(flow) || has_been_flooded();
}

static __always_inline void trace_forgettings(const struct service_entry *entry, const struct flow_reference *flow)
{
	TRACE(if (is_hash_based(entry->service)) trace.forgettings |= IPVSD_FORGETTING_HASH_BASED);
	TRACE(if (has_overflowed(flow)) trace.forgettings |= IPVSD_FORGETTING_NO_ROOM);
	TRACE(if (has_been_flooded()) trace.forgettings |= IPVSD_FORGETTING_FLOOD);
}

static __always_inline struct verdict on_tcp_without_connection(struct packet *packet,
								const struct service_entry *entry,
								struct flow_reference *flow, const struct tcphdr *tcp)
{
	bool carries = carries_data(packet, tcp);
	__u32 server;

	if (!may_be_unrecorded(packet, entry, flow))
		return end_by(tcp->rst ? drop(packet, IPVSD_DROPPED_RESET_WITHOUT_CONNECTION)
				       : answer_reset(packet, tcp, IPVSD_ANSWERED_NO_CONNECTION));
	server = stateless_server(entry, packet->client, packet->client_port);
	TRACE(trace.occasion = IPVSD_OCCASION_UNKNOWN_CONNECTION);
	trace_choice(server);
	if (server) {
		count(packet, IPVSD_EVENT_REDERIVED);
		TRACE(trace.recording = IPVSD_RECORDING_NONE);
		/* Even with data the state is a bare ACK, since a sender that spoofs a SYN can also spoof an ACK and
		 * data. Until another packet comes, the entry gives way. */
		if ((carries || !is_flooded()) &&
		    record(packet, flow, NO_ENTRY, server, next_state(IPVSD_STATE_NONE, tcp, false, false), false))
			note_connection(server);
	}
	return to_server(server);
}

static __always_inline struct verdict on_syn_in_flood(struct packet *packet, const struct service_entry *entry)
{
	__u32 server;

	note_flood();
	count(packet, IPVSD_EVENT_UNRECORDED);
	server = stateless_server(entry, packet->client, packet->client_port);
	TRACE(trace.occasion = IPVSD_OCCASION_FLOOD);
	TRACE(trace.recording = IPVSD_RECORDING_NONE);
	trace_choice(server);
	count_connection(packet, server);
	return to_server(server);
}

/* Whether a recorded connection is scheduled anew. `state` is then the state to record it with. `server` is set where
 * its new server is chosen already. `next` is the state that the packet moves the connection to. */
static __always_inline bool is_rescheduled(struct packet *packet, const struct service_entry *entry,
					   const struct flow_reference *flow, struct flow_entry hit,
					   const struct tcphdr *tcp, bool opens, __u32 next, __u32 *state,
					   __u32 *server)
{
	__u32 current = ipvsd_flow_state(hit.value), holder = ipvsd_flow_server(hit.value);

	/* A client that reuses a port, or has lost its server, need not wait for a time-out. */
	if (opens &&
	    (ipvsd_state_is_closing(current) || server_has(holder, IPVSD_SERVER_DOWN | IPVSD_SERVER_REMOVED))) {
		count(packet, IPVSD_EVENT_RESCHEDULED);
		if (ipvsd_state_is_closing(current))
			trace_rescheduled(IPVSD_FATE_REUSED_PORTS, IPVSD_OCCASION_REUSED_PORTS);
		else
			trace_rescheduled(IPVSD_FATE_SERVER_LOST, IPVSD_OCCASION_SERVER_LOST);
		return true;
	}
	if (opens && current == IPVSD_STATE_SYN_RECV) {
		*server = other_than_silent(packet, entry, flow, holder);
		if (*server) {
			count(packet, IPVSD_EVENT_RESCHEDULED_SILENT);
			trace_rescheduled(IPVSD_FATE_SERVER_SILENT, IPVSD_OCCASION_SERVER_SILENT);
			trace_choice(*server);
		}
		return *server != 0;
	}
	if (entry->flags & IPVSD_SERVICE_REHASHES && !tcp->rst && server_has(holder, IPVSD_SERVER_DOWN)) {
		count(packet, IPVSD_EVENT_RESCHEDULED);
		trace_rescheduled(IPVSD_FATE_SERVER_LOST, IPVSD_OCCASION_SERVER_LOST);
		*state = next;
		return true;
	}
	return false;
}

static __always_inline struct verdict on_tcp(struct packet *packet, const struct service_entry *entry,
					     struct flow_reference *flow, struct flow_entry hit,
					     const struct tcphdr *tcp)
{
	bool opens = tcp->syn && !tcp->ack && !tcp->rst, limited = true;
	__u32 state = IPVSD_STATE_SYN_RECV, server = 0;

	if (!hit.entry && !opens)
		return on_tcp_without_connection(packet, entry, flow, tcp);
	if (!hit.entry && is_flooded())
		return on_syn_in_flood(packet, entry);
	if (hit.entry) {
		__u32 current = ipvsd_flow_state(hit.value), holder = ipvsd_flow_server(hit.value);
		bool carries = carries_data(packet, tcp);
		__u32 next = next_state(current, tcp, carries, entry->flags & IPVSD_SERVICE_PERSISTENT);

		/* The connection cannot go on, and its client gets a reset. */
		if (!opens && entry->flags & IPVSD_SERVICE_RESETS && !tcp->rst &&
		    server_has(holder, IPVSD_SERVER_DOWN)) {
			forget(hit);
			TRACE(trace.fate = IPVSD_FATE_RESET);
			return end_by(answer_reset(packet, tcp, IPVSD_ANSWERED_SERVER_LOST));
		}
		if (!is_rescheduled(packet, entry, flow, hit, tcp, opens, next, &state, &server)) {
			if (current == IPVSD_STATE_SYN_RECV && next != current && ipvsd_state_is_active(next)) {
				count_completed(flow, holder);
				if (entry->flags & IPVSD_SERVICE_ANY_PORT)
					learn_port(packet, entry);
			}
			refresh_conn(packet, entry, flow, hit, next, proves_client(tcp, carries),
				     IPVSD_SERVER_LEFT_BY_CONNECTIONS);
			return to_server(holder);
		}
	}
	if (!server) {
		server = select_server(entry, packet->client, packet->client_port, IPVSD_SERVER_LEFT_BY_CONNECTIONS,
				       &limited);
		trace_choice(server);
	}
	return to_server(new_conn(packet, entry, flow, hit, server, limited, state, opens));
}

static __always_inline struct verdict on_later_fragment(struct packet *packet)
{
	__u32 server = server_of_fragment(packet);

	if (!server)
		return end_by(drop(packet, IPVSD_DROPPED_FRAGMENT));
	if (server == FRAGMENT_PASSED)
		return end_by(pass(packet, IPVSD_PASSED_NO_SERVICE));
	return to_server(server);
}

/* Handles a TCP or UDP packet with ports. `known`: `listener` is the packet's listener. Otherwise it is looked up. */
static __always_inline struct verdict on_transport(struct packet *packet, void *header, void *end, bool known,
						   struct ipvsd_listener_value listener)
{
	struct tcphdr *tcp = header;
	struct udphdr *udp = header;
	__u32 room = packet->tot_len - packet->header_length;
	struct service_entry entry;
	struct flow_reference flow;
	struct flow_entry hit;

	if ((void *)(udp + 1) > end || room < sizeof(*udp))
		return end_by(drop(packet, IPVSD_DROPPED_TRUNCATED));
	packet->client_port = udp->source;
	packet->port = udp->dest;
	if (!known && !find_listener(packet->vip, packet->port, packet->protocol, &listener))
		return end_by(pass(packet, IPVSD_PASSED_NO_SERVICE));
	if (packet->tot_len > settings.ingress_mtu)
		return end_by(drop(packet, IPVSD_DROPPED_MERGED_FRAME));
	if (packet->protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end || room < sizeof(*tcp))
			return end_by(drop(packet, IPVSD_DROPPED_TRUNCATED));
		if (tcp->doff < TCP_MIN_DOFF || tcp->doff * 4u > room)
			return end_by(drop(packet, IPVSD_DROPPED_BAD_HEADER));
	}
	if (!locate(packet->client, packet->client_port, packet->port, &listener, &flow))
		return end_by(drop(packet, IPVSD_DROPPED_INTERNAL));
	hit = find(&flow, &listener);
	TRACE(trace_hit(&flow, hit));
	if (!hit.entry) {
		/* The real server would answer to the client's VIP. Its answer would come in as a client's packet, and
		 * so would the answer to that, for ever. */
		if (is_vip(packet->client))
			return end_by(drop(packet, IPVSD_DROPPED_MARTIAN_SOURCE));
		gc_without_daemon();
	}
	if (!lookup_service(listener.service, listener.flags, &entry))
		return end_by(drop(packet, IPVSD_DROPPED_INTERNAL));
	if (!hit.entry)
		trace_forgettings(&entry, &flow);
	if (packet->protocol == IPPROTO_UDP)
		return on_udp(packet, &entry, &flow, hit);
	return on_tcp(packet, &entry, &flow, hit, tcp);
}

/* The PORTS_LEN bytes of the quoted packet's transport header that RFC 792 guarantees. */
struct quoted_ports {
	__be16 source, destination;
	__u32 more;
};

/* Sends an ICMP error about a reply to the real server that sent the reply. */
static __always_inline struct verdict on_icmp_error(struct packet *packet, struct icmp_header *icmp, void *end)
{
	struct iphdr *quoted = (void *)(icmp + 1);
	struct ipvsd_listener_value listener;
	struct service_entry entry;
	struct flow_reference flow;
	struct flow_entry hit;
	struct quoted_ports *ports;
	__u32 server;

	if ((void *)(quoted + 1) > end || quoted->version != 4 || quoted->ihl < IP_LEN / 4 ||
	    quoted->saddr != packet->vip)
		return end_by(drop(packet, IPVSD_DROPPED_ICMP_MALFORMED));
	if (quoted->protocol != IPPROTO_TCP && quoted->protocol != IPPROTO_UDP)
		return end_by(pass(packet, IPVSD_PASSED_ICMP_OTHER));
	ports = (void *)quoted + quoted->ihl * 4;
	if ((void *)(ports + 1) > end || quoted->frag_off & bpf_htons(IP_OFFSET) ||
	    packet->tot_len < packet->header_length + sizeof(*icmp) + quoted->ihl * 4u + PORTS_LEN)
		return end_by(drop(packet, IPVSD_DROPPED_ICMP_MALFORMED));
	if (!find_listener(packet->vip, ports->source, quoted->protocol, &listener))
		return end_by(pass(packet, IPVSD_PASSED_NO_SERVICE));
	if (!lookup_service(listener.service, listener.flags, &entry) ||
	    !locate(quoted->daddr, ports->destination, ports->source, &listener, &flow))
		return end_by(drop(packet, IPVSD_DROPPED_INTERNAL));
	hit = find(&flow, &listener);
	if (hit.entry)
		server = ipvsd_flow_server(hit.value);
	else if (may_be_unrecorded(packet, &entry, &flow))
		server = stateless_server(&entry, quoted->daddr, ports->destination);
	else
		server = 0;
	if (!server)
		return end_by(drop(packet, IPVSD_DROPPED_ICMP_WITHOUT_CONNECTION));
	packet->is_icmp_error = true;
	count(packet, IPVSD_EVENT_ICMP_RELAYED);
	return to_server(server);
}

static __always_inline struct verdict on_icmp(struct packet *packet, void *header, void *end)
{
	struct icmp_header *icmp = header;

	/* Fragmented ICMP, such as a large echo request, passes. The director's own stack reassembles and answers
	 * it. */
	if (packet->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return end_by(pass(packet, IPVSD_PASSED_ICMP_OTHER));
	if ((void *)(icmp + 1) > end || packet->tot_len < packet->header_length + sizeof(*icmp))
		return end_by(drop(packet, IPVSD_DROPPED_TRUNCATED));
	if (is_vip(packet->client))
		return end_by(drop(packet, IPVSD_DROPPED_MARTIAN_SOURCE));
	switch (icmp->type) {
	case ICMP_ECHO_REQUEST:
		return end_by(answer_echo(packet));
	case ICMP_UNREACHABLE:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETER_PROBLEM:
		return on_icmp_error(packet, icmp, end);
	}
	return end_by(pass(packet, IPVSD_PASSED_ICMP_OTHER));
}

/* Traces the service of the packet and its client's template, even where the packet does not get that far. */
static __always_inline void trace_service(const struct packet *packet, const struct iphdr *ip, const void *end)
{
	const __be16 *ports = (const void *)(ip + 1);
	struct ipvsd_listener_value listener;
	__u32 left =
		packet->protocol == IPPROTO_UDP ? IPVSD_SERVER_LEFT_BY_DATAGRAMS : IPVSD_SERVER_LEFT_BY_CONNECTIONS;

	if (!EXPLAINS || (const void *)(ports + 2) > end ||
	    !find_listener(packet->vip, ports[1], packet->protocol, &listener))
		return;
	trace_listener(&listener);
	if (listener.flags & IPVSD_SERVICE_PERSISTENT && by_template(listener.service, packet->client, left))
		TRACE(trace.is_template_heeded = 1);
}

static __always_inline int direct(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct packet packet = { .ctx = ctx, .l3 = sizeof(*ethernet) };
	struct ipvsd_listener_value listener = {}, none;
	__u32 zero = 0;
	bool known = false;
	__be16 protocol;
	struct iphdr *ip = data + sizeof(*ethernet);
	struct verdict verdict;
	int action;

	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	if (on_established(ctx, data, end, &action))
		return action;
	protocol = ether_type(ethernet);
#pragma unroll
	for (int i = 0; i < VLAN_TAGS; i++) {
		struct vlan_tag *tag = (void *)ip;

		if (!is_vlan(protocol))
			break;
		protocol = tag->protocol;
		packet.l3 += sizeof(*tag);
		ip = (void *)(tag + 1);
		if ((void *)(ip + 1) > end)
			return XDP_PASS;
	}
	if (protocol != bpf_htons(ETH_P_IP) || !may_be_vip(ip->daddr))
		return XDP_PASS;
	/* Most packets are for a service, and so for a VIP, which needs no second look-up. */
	if (*(__u8 *)ip == IP_PLAIN && !(ip->frag_off & bpf_htons(IP_OFFSET)) &&
	    (ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP) &&
	    (void *)(ip + 1) + 2 * sizeof(__be16) <= end)
		known = find_service(ip->daddr, ((__be16 *)(ip + 1))[1], ip->protocol, &listener);
	if (!known && !find_service(ip->daddr, 0, 0, &none))
		return XDP_PASS;
	if (!is_for_director(ethernet))
		return on_foreign_frame(&packet, ethernet, known || find_service(ip->daddr, 0, ip->protocol, &none));

	packet.counters = bpf_map_lookup_elem(&counters, &zero);
	if (!packet.counters)
		return XDP_ABORTED;
	count(&packet, IPVSD_RECEIVED);
	packet.frame_len = frame_length(data, end);
	read_ipv4(&packet, ip);
	trace_service(&packet, ip, end);
	if (ip->version != 4 || packet.header_length < sizeof(*ip) || packet.tot_len < packet.header_length)
		return drop(&packet, IPVSD_DROPPED_BAD_HEADER);
	if ((void *)ip + packet.header_length > end || packet.tot_len + packet.l3 > packet.frame_len)
		return drop(&packet, IPVSD_DROPPED_TRUNCATED);
	if (is_martian(packet.client) || packet.client == packet.vip)
		return drop(&packet, IPVSD_DROPPED_MARTIAN_SOURCE);
	switch (packet.protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		verdict = packet.frag_off & bpf_htons(IP_OFFSET)
				  ? on_later_fragment(&packet)
				  : on_transport(&packet, (void *)ip + packet.header_length, end, known, listener);
		break;
	case IPPROTO_ICMP:
		verdict = on_icmp(&packet, (void *)ip + packet.header_length, end);
		break;
	default:
		return pass(&packet, IPVSD_PASSED_UNKNOWN_PROTOCOL);
	}
	if (packet.frag_off & bpf_htons(IP_MF) && !(packet.frag_off & bpf_htons(IP_OFFSET)))
		note_first_fragment(&packet, verdict);
	if (verdict.action != TO_SERVER)
		return verdict.action;
	if (!verdict.server)
		return answer_unreachable(&packet, ICMP_PORT_UNREACHABLE, 0, IPVSD_ANSWERED_NO_SERVER);
	return forward(&packet, verdict.server);
}

#ifndef IPVSD_EXPLAIN

SEC("xdp")
int director(struct xdp_md *ctx) { return direct(ctx); }

/* The daemon runs the next two programs by system calls. They run in process context, where packets interrupt them.
 * Programs of this type are sleepable, and before Linux 6.1 may use only arrays and preallocated hashes. */
SEC("syscall")
int sweep(struct ipvsd_sweep_run *run)
{
	WRITE(table_load.last_daemon_gc = ticks());
	sweep_from(run->first);
	return 0;
}

/* Stores the tick in `run`. No clock of user space shows it. */
SEC("syscall")
int tick(struct ipvsd_tick_run *run)
{
	run->tick = ticks();
	return 0;
}

#endif

char _license[] SEC("license") = "Dual MIT/GPL";
