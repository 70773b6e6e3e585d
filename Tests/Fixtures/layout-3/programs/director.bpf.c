// SPDX-License-Identifier: MIT OR GPL-2.0
/* A packet's way through the director: parse, VIP, service, connection or scheduler, encapsulate, send. Every packet
 * for a VIP ends in exactly one counter. */
#include "packet.h"

#include "answer.h"
#include "established.h"
#include "flood.h"
#include "flows.h"
#include "forward.h"
#include "fragments.h"
#include "listeners.h"
#include "maps.h"
#include "persistence.h"
#include "recording.h"
#include "schedule.h"
#include "sweep.h"

static __always_inline void count_connection(__u32 server_id)
{
	struct ipvsd_statistics *total = bpf_map_lookup_elem(&statistics, &server_id);

	if (total)
		total->connections++;
}

/* Records a flow toward a server that was chosen for it. Where the table has no room, what every director would
 * choose takes its place, so that no packet needs memory. 0: there is no server. */
static __always_inline __u32 begin(struct packet *packet, const struct service_entry *entry,
				   const struct flow_reference *flow, struct flow_entry previous, __u32 server,
				   __u32 state)
{
	int recorded;

	if (!server)
		return 0;
	recorded = record(packet, flow, previous, server, state);
	if (recorded) {
		note_connection(server);
	} else {
		count(packet, IPVSD_EVENT_FLOW_TABLE_FULL);
		mark_overflow(flow->bucket_index, flow->now);
		server = rederive_server(entry, packet->client, packet->client_port);
	}
	/* Without an entry every datagram would seem to be a new connection. */
	if (recorded || packet->protocol == IPPROTO_TCP)
		count_connection(server);
	return server;
}

/* What follows decides: a server id, 0 where there is no server, or the complement of an XDP verdict. */

/* The flow's packets keep the client's template, too. */
static __always_inline void keep_up(const struct packet *packet, const struct service_entry *entry,
				    const struct flow_reference *flow, struct flow_entry hit, __u32 state)
{
	if (refresh(flow, hit, state, longest_lag(entry)) && entry->flags & IPVSD_SERVICE_PERSISTENT)
		by_template(entry->id, packet->client, OUT);
}

static __always_inline void learn_port(const struct packet *packet, const struct service_entry *entry)
{
	struct ipvsd_port key = { .id = entry->id, .port = packet->port };
	__u64 now = bpf_ktime_get_coarse_ns(), *last = bpf_map_lookup_elem(&learnt_ports, &key);

	if (last)
		*last = now;
	else
		bpf_map_update_elem(&learnt_ports, &key, &now, BPF_NOEXIST);
}

/* A dead server's silence: clients' SYNs, and no ACK that completes a handshake. */
static __always_inline int is_silent(const struct packet *packet, const struct flow_reference *flow, __u32 server_id)
{
	struct ipvsd_load *load = bpf_map_lookup_elem(&loads, &server_id);

	return load && settings.silent_after && load->unanswered >= settings.silent_after &&
	       (__u16)(flow->now - load->completed) >= IPVSD_SILENT_TICKS;
}

static __always_inline void count_unanswered(__u32 server_id)
{
	struct ipvsd_load *load = bpf_map_lookup_elem(&loads, &server_id);

	if (load)
		__sync_fetch_and_add(&load->unanswered, 1);
}

static __always_inline void count_completed(const struct flow_reference *flow, __u32 server_id)
{
	struct ipvsd_load *load = bpf_map_lookup_elem(&loads, &server_id);

	if (!load)
		return;
	if (load->unanswered)
		load->unanswered = 0;
	load->completed = flow->now;
}

static __always_inline int on_udp(struct packet *packet, const struct service_entry *entry, struct flow_reference *flow,
				  struct flow_entry hit)
{
	__u32 server;

	if (entry->flags & IPVSD_SERVICE_ONE_PACKET) {
		server = select_server(entry, packet->client, packet->client_port);
		count_connection(server);
		return server;
	}
	if (hit.entry && !server_has(server_of(hit.value), IPVSD_SERVER_DOWN)) {
		keep_up(packet, entry, flow, hit, IPVSD_STATE_UDP);
		return server_of(hit.value);
	}
	if (hit.entry)
		count(packet, IPVSD_EVENT_RESCHEDULED);
	server = select_server(entry, packet->client, packet->client_port);
	return begin(packet, entry, flow, hit, server, IPVSD_STATE_ONE_DATAGRAM);
}

static __always_inline int carries_data(const struct packet *packet, const struct tcphdr *tcp)
{
	return packet->length > packet->header_length + tcp->doff * 4u;
}

/* Whether a packet without a connection is one of a connection that has no entry. */
static __always_inline int may_be_unrecorded(const struct packet *packet, const struct service_entry *entry,
					     const struct flow_reference *flow)
{
	return is_hash_based(entry->service) || has_overflowed(flow) || has_been_flooded();
}

static __always_inline int on_tcp_without_connection(struct packet *packet, const struct service_entry *entry,
						     struct flow_reference *flow, const struct tcphdr *tcp)
{
	int carries = carries_data(packet, tcp);
	__u32 server;

	if (!may_be_unrecorded(packet, entry, flow))
		return ~(tcp->rst ? drop(packet, IPVSD_DROPPED_RESET_WITHOUT_CONNECTION)
				  : answer_reset(packet, tcp, IPVSD_ANSWERED_NO_CONNECTION));
	server = rederive_server(entry, packet->client, packet->client_port);
	if (server) {
		count(packet, IPVSD_EVENT_REDERIVED);
		/* Whoever made up a SYN can make up an ACK, and data: until another packet comes, it gives way. */
		if ((carries || !is_flooded()) &&
		    record(packet, flow, NO_ENTRY, server, next_state(IPVSD_STATE_NONE, tcp, 0)))
			note_connection(server);
	}
	return server;
}

static __always_inline int on_syn_in_flood(struct packet *packet, const struct service_entry *entry)
{
	__u32 server;

	note_flood();
	count(packet, IPVSD_EVENT_UNRECORDED);
	server = rederive_server(entry, packet->client, packet->client_port);
	count_connection(server);
	return server;
}

/* Another server for a SYN that is repeated to a silent one, 0 where there is none or nobody is silent. */
static __always_inline __u32 other_than_silent(const struct packet *packet, const struct service_entry *entry,
					       const struct flow_reference *flow, __u32 server)
{
	return is_silent(packet, flow, server) ? select_other(entry, packet->client, packet->client_port, server) : 0;
}

static __always_inline int on_tcp(struct packet *packet, const struct service_entry *entry, struct flow_reference *flow,
				  struct flow_entry hit, const struct tcphdr *tcp)
{
	int opens = tcp->syn && !tcp->ack && !tcp->rst;
	__u32 state = IPVSD_STATE_SYN_RECV, server = 0, holder, current, next;

	if (!hit.entry && !opens)
		return on_tcp_without_connection(packet, entry, flow, tcp);
	if (!hit.entry) {
		if (is_flooded())
			return on_syn_in_flood(packet, entry);
		goto schedule;
	}
	current = state_of(hit.value);
	holder = server_of(hit.value);
	next = next_state(current, tcp, carries_data(packet, tcp));
	/* A client that reuses a port, or whose server is gone, need not wait for a time-out. */
	if (opens && (is_closing(current) || server_has(holder, IPVSD_SERVER_DOWN | IPVSD_SERVER_REMOVED))) {
		count(packet, IPVSD_EVENT_RESCHEDULED);
		goto schedule;
	}
	if (opens && current == IPVSD_STATE_SYN_RECV) {
		server = other_than_silent(packet, entry, flow, holder);
		if (server) {
			count(packet, IPVSD_EVENT_RESCHEDULED_SILENT);
			goto schedule;
		}
	}
	/* The connection will not go on. Its client is told so, by us or by the server that takes its place. */
	if (entry->flags & (IPVSD_SERVICE_RESETS | IPVSD_SERVICE_REHASHES) && !tcp->rst &&
	    server_has(holder, IPVSD_SERVER_DOWN)) {
		if (entry->flags & IPVSD_SERVICE_RESETS) {
			forget(hit);
			return ~answer_reset(packet, tcp, IPVSD_ANSWERED_SERVER_LOST);
		}
		count(packet, IPVSD_EVENT_RESCHEDULED);
		state = next;
		goto schedule;
	}
	if (current == IPVSD_STATE_SYN_RECV && next != current && is_active(next)) {
		count_completed(flow, holder);
		if (entry->flags & IPVSD_SERVICE_ANY_PORT)
			learn_port(packet, entry);
	}
	keep_up(packet, entry, flow, hit, next);
	return holder;

schedule:
	if (!server)
		server = select_server(entry, packet->client, packet->client_port);
	server = begin(packet, entry, flow, hit, server, state);
	if (opens)
		count_unanswered(server);
	return server;
}

static __always_inline int on_later_fragment(struct packet *packet)
{
	__u32 server = server_of_fragment(packet);

	if (!server)
		return ~drop(packet, IPVSD_DROPPED_FRAGMENT);
	return server == PASSED ? ~pass(packet, IPVSD_PASSED_NO_SERVICE) : server;
}

/* `known`: the listener was found already. */
static __always_inline int on_transport(struct packet *packet, void *header, void *end, int known,
					struct ipvsd_service_value listener)
{
	struct tcphdr *tcp = header;
	struct udphdr *udp = header;
	__u32 room = packet->length - packet->header_length;
	struct service_entry entry;
	struct flow_reference flow;
	struct flow_entry hit;

	if ((void *)(udp + 1) > end || room < sizeof(*udp))
		return ~drop(packet, IPVSD_DROPPED_TRUNCATED);
	packet->client_port = udp->source;
	packet->port = udp->dest;
	if (!known && !find_listener(packet->vip, packet->port, packet->protocol, &listener))
		return ~pass(packet, IPVSD_PASSED_NO_SERVICE);
	if (packet->length > settings.ingress_mtu)
		return ~drop(packet, IPVSD_DROPPED_MERGED_FRAME);
	if (packet->protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end || room < sizeof(*tcp))
			return ~drop(packet, IPVSD_DROPPED_TRUNCATED);
		if (tcp->doff < 5 || tcp->doff * 4u > room)
			return ~drop(packet, IPVSD_DROPPED_BAD_HEADER);
	}
	if (!locate(packet->client, packet->client_port, packet->port, listener.flow_service, &flow))
		return ~drop(packet, IPVSD_DROPPED_INTERNAL);
	hit = find(&flow);
	if (!hit.entry)
		sweep_in_absence();
	if (!enter(listener.service, listener.flags, &entry))
		return ~drop(packet, IPVSD_DROPPED_INTERNAL);
	if (packet->protocol == IPPROTO_UDP)
		return on_udp(packet, &entry, &flow, hit);
	return on_tcp(packet, &entry, &flow, hit, tcp);
}

/* An ICMP error about a reply goes where the reply came from. RFC 792 promises 8 bytes of the quoted packet: ports. */
static __always_inline int on_icmp_error(struct packet *packet, struct icmp_header *icmp, void *end)
{
	struct iphdr *quoted = (void *)(icmp + 1);
	struct ipvsd_service_value listener;
	struct service_entry entry;
	struct flow_reference flow;
	struct flow_entry hit;
	struct {
		__be16 source, destination;
		__u32 more;
	} *ports;
	__u32 server;

	if ((void *)(quoted + 1) > end || quoted->version != 4 || quoted->ihl < 5 || quoted->saddr != packet->vip)
		return ~drop(packet, IPVSD_DROPPED_ICMP_MALFORMED);
	if (quoted->protocol != IPPROTO_TCP && quoted->protocol != IPPROTO_UDP)
		return ~pass(packet, IPVSD_PASSED_ICMP_OTHER);
	ports = (void *)quoted + quoted->ihl * 4;
	if ((void *)(ports + 1) > end || quoted->frag_off & bpf_htons(0x1fff) ||
	    packet->length < packet->header_length + 8 + quoted->ihl * 4u + 8)
		return ~drop(packet, IPVSD_DROPPED_ICMP_MALFORMED);
	if (!find_listener(packet->vip, ports->source, quoted->protocol, &listener))
		return ~pass(packet, IPVSD_PASSED_NO_SERVICE);
	if (!enter(listener.service, listener.flags, &entry) || !locate(quoted->daddr, ports->destination, ports->source,
						 listener.flow_service, &flow))
		return ~drop(packet, IPVSD_DROPPED_INTERNAL);
	hit = find(&flow);
	if (hit.entry)
		server = server_of(hit.value);
	else if (may_be_unrecorded(packet, &entry, &flow))
		server = rederive_server(&entry, quoted->daddr, ports->destination);
	else
		server = 0;
	if (!server)
		return ~drop(packet, IPVSD_DROPPED_ICMP_WITHOUT_CONNECTION);
	packet->is_icmp_error = 1;
	count(packet, IPVSD_EVENT_ICMP_RELAYED);
	return server;
}

static __always_inline int on_icmp(struct packet *packet, void *header, void *end)
{
	struct icmp_header *icmp = header;

	/* A large echo request: the director's own stack puts it together, and answers. */
	if (packet->fragment & bpf_htons(IP_MF | IP_OFFSET))
		return ~pass(packet, IPVSD_PASSED_ICMP_OTHER);
	if ((void *)(icmp + 1) > end || packet->length < packet->header_length + sizeof(*icmp))
		return ~drop(packet, IPVSD_DROPPED_TRUNCATED);
	switch (icmp->type) {
	case ICMP_ECHO_REQUEST:
		return ~answer_echo(packet);
	case ICMP_UNREACHABLE:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETER_PROBLEM:
		return on_icmp_error(packet, icmp, end);
	}
	return ~pass(packet, IPVSD_PASSED_ICMP_OTHER);
}

SEC("xdp")
int director(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct packet packet = { .ctx = ctx, .l3 = sizeof(*ethernet) };
	struct ipvsd_service_value listener = {}, none;
	__u32 zero = 0;
	int known = 0;
	__be16 protocol;
	struct iphdr *ip = data + sizeof(*ethernet);
	int decision;

	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	if (on_established(ctx, data, end, &decision))
		return decision;
	protocol = ether_type(ethernet);
#pragma unroll
	for (int i = 0; i < 2; i++) {
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
	/* What is for a service is for a VIP, and most packets are. */
	if (*(__u8 *)ip == 0x45 && !(ip->frag_off & bpf_htons(IP_OFFSET)) &&
	    (ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP) && (void *)(ip + 1) + 2 * sizeof(__be16) <= end)
		known = find_service(ip->daddr, ((__be16 *)(ip + 1))[1], ip->protocol, &listener);
	if (!known && !find_service(ip->daddr, 0, 0, &none))
		return XDP_PASS;
	if (!is_for_director(ethernet) && !may_have_become_ours(ethernet))
		return XDP_PASS;

	packet.counters = bpf_map_lookup_elem(&counters, &zero);
	if (!packet.counters)
		return XDP_ABORTED;
	count(&packet, IPVSD_RECEIVED);
	packet.frame = frame_length(data, end);
	packet.header_length = ip->ihl * 4;
	packet.length = bpf_ntohs(ip->tot_len);
	packet.client = ip->saddr;
	packet.vip = ip->daddr;
	packet.protocol = ip->protocol;
	packet.tos = ip->tos;
	packet.fragment = ip->frag_off;
	packet.id = ip->id;
	if (ip->version != 4 || packet.header_length < sizeof(*ip) || packet.length < packet.header_length)
		return drop(&packet, IPVSD_DROPPED_BAD_HEADER);
	if ((void *)ip + packet.header_length > end || packet.length + packet.l3 > packet.frame)
		return drop(&packet, IPVSD_DROPPED_TRUNCATED);
	if (is_martian(packet.client) || packet.client == packet.vip)
		return drop(&packet, IPVSD_DROPPED_MARTIAN_SOURCE);
	switch (packet.protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		decision = packet.fragment & bpf_htons(IP_OFFSET)
				   ? on_later_fragment(&packet)
				   : on_transport(&packet, (void *)ip + packet.header_length, end, known, listener);
		break;
	case IPPROTO_ICMP:
		decision = on_icmp(&packet, (void *)ip + packet.header_length, end);
		break;
	default:
		return pass(&packet, IPVSD_PASSED_UNKNOWN_PROTOCOL);
	}
	if (packet.fragment & bpf_htons(IP_MF) && !(packet.fragment & bpf_htons(IP_OFFSET)) &&
	    (decision > 0 || decision == ~XDP_PASS))
		note_first_fragment(&packet, decision > 0 ? decision : PASSED);
	if (decision < 0)
		return ~decision;
	if (decision == 0)
		return answer_unreachable(&packet, ICMP_PORT_UNREACHABLE, 0, IPVSD_ANSWERED_NO_SERVER);
	return forward(&packet, decision);
}

SEC("xdp")
int sweep(struct xdp_md *ctx)
{
	pressure.swept = ticks();
	sweep_some();
	return XDP_PASS;
}

/* The tick, as the return value: for the daemon, since no clock of its own shows it. */
SEC("xdp")
int tick(struct xdp_md *ctx)
{
	return ticks();
}

char _license[] SEC("license") = "Dual MIT/GPL";
