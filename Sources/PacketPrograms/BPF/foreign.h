/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Frames for another MAC than the director's. A frame for another host passes, since an answer would break that host's
 * connections. */
#pragma once

#include "fastpath.h"
#include "flows.h"
#include "forward.h"
#include "listeners.h"
#include "packet.h"
#include "schedule.h"
#include "sweep.h"

/* Returns the next hop of a packet of `length` bytes. Returns null where the packet would not be encapsulated whole, or
 * where the server has one of the flags `refused`. */
static __always_inline const struct ipvsd_next_hop *whole_next_hop(__u32 server_id, __u32 length, __u32 refused)
{
	const struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	const struct ipvsd_next_hop *hop;
	__u32 hop_id;

	if (!server || server->flags & refused)
		return NULL;
	hop_id = *(const volatile __u32 *)&server->next_hop;
	hop = bpf_map_lookup_elem(&next_hops, &hop_id);
	return hop && hop->flags & IPVSD_NEXT_HOP_RESOLVED && length + IPVSD_ENCAPSULATION <= hop->mtu ? hop : NULL;
}

/* The next two functions are global: the verifier checks them separately, and their stacks do not add up. */

/* Returns the id of the real server of a recorded connection's packet, and refreshes the connection. Returns 0 for
 * other packets, such as a SYN, and where the packet cannot be sent on whole. */
__noinline int recorded_server(struct xdp_md *ctx, __u32 l3)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipvsd_listener_value listener;
	__u32 state = IPVSD_STATE_UDP, left = IPVSD_SERVER_LEFT_BY_DATAGRAMS, proven, length;
	struct service_entry entry;
	struct flow_reference flow;
	struct flow_entry hit;
	struct tcphdr *tcp;
	struct udphdr *udp;
	struct iphdr *ip;

	if (l3 > LINK_LEN)
		return 0;
	ip = data + l3;
	tcp = (void *)(ip + 1);
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > end || *(__u8 *)ip != IP_PLAIN || ip->frag_off & ~bpf_htons(IP_DF))
		return 0;
	length = bpf_ntohs(ip->tot_len);
	if (length < sizeof(*ip) + sizeof(*udp) || length + l3 > frame_length(data, end) ||
	    length > settings.ingress_mtu || !find_listener(ip->daddr, udp->dest, ip->protocol, &listener) ||
	    !lookup_service(listener.service, listener.flags, &entry) ||
	    !locate(ip->saddr, udp->source, udp->dest, &listener, &flow))
		return 0;
	hit = find(&flow, &listener);
	/* Datagrams leave a server that was removed or drained, and would be scheduled anew. */
	if (!hit.entry ||
	    !whole_next_hop(ipvsd_flow_server(hit.value), length,
			    ip->protocol == IPPROTO_UDP ? IPVSD_SERVER_DOWN | IPVSD_SERVER_LEFT : IPVSD_SERVER_DOWN))
		return 0;
	proven = ipvsd_flow_server(hit.value);
	if (ip->protocol == IPPROTO_TCP) {
		__u32 headers;

		if ((void *)(tcp + 1) > end)
			return 0;
		headers = sizeof(*ip) + tcp->doff * 4u;
		if (tcp->doff < TCP_MIN_DOFF || headers > length || (tcp->syn && !tcp->ack))
			return 0;
		state = next_state(ipvsd_flow_state(hit.value), tcp, length > headers,
				   entry.flags & IPVSD_SERVICE_PERSISTENT);
		left = IPVSD_SERVER_LEFT_BY_CONNECTIONS;
		if (!proves_client(tcp, length > headers))
			proven = 0;
	}
	if (refresh(&flow, hit, state, longest_lag(&entry)) && entry.flags & IPVSD_SERVICE_PERSISTENT)
		keep_up_template(entry.id, ip->saddr, proven, left);
	return ipvsd_flow_server(hit.value);
}

/* Sends the packet that recorded_server has accepted. Returns the XDP action. */
__noinline int send_on(struct xdp_md *ctx, __u32 l3, __u32 server_id)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet packet = { .ctx = ctx, .l3 = l3 };
	const struct ipvsd_next_hop *hop;
	struct iphdr *ip;
	__u32 zero = 0;

	if (l3 > LINK_LEN)
		return XDP_PASS;
	ip = data + l3;
	if ((void *)(ip + 1) + sizeof(struct udphdr) > end)
		return XDP_PASS;
	read_ipv4(&packet, ip);
	packet.client_port = ((struct udphdr *)(ip + 1))->source;
	hop = whole_next_hop(server_id, packet.tot_len, IPVSD_SERVER_DOWN);
	packet.counters = hop ? bpf_map_lookup_elem(&counters, &zero) : NULL;
	if (!packet.counters)
		return XDP_PASS;
	count(&packet, IPVSD_RECEIVED);
	if (!encapsulate_for(&packet, server_id, hop))
		return drop(&packet, IPVSD_DROPPED_INTERNAL);
	count_forwarded(&packet, server_id);
	return transmit(&packet, hop);
}

/* Handles a frame for another MAC. Without a daemon, nobody notices that the interface has a new MAC. Packets of
 * recorded connections are therefore sent on then. Other frames pass, except one for a service at a macvlan without a
 * VIP, which is dropped. The VIP may just have moved to that macvlan, and then the daemon soon knows, and the client
 * repeats its packet. Until then, the director's own stack would reset the connection. */
static __always_inline int on_foreign_frame(struct packet *packet, const struct ethhdr *ethernet, bool is_for_service)
{
	bool is_idle = is_for_service && is_for_idle_macvlan(ethernet);
	__u32 server = 0, zero = 0;

	if (!(ethernet->h_dest[0] & 1) && daemon_absent(ticks()))
		server = recorded_server(packet->ctx, packet->l3) & 0xffff;
	if (server)
		return send_on(packet->ctx, packet->l3, server);
	if (!is_idle)
		return XDP_PASS;
	packet->counters = bpf_map_lookup_elem(&counters, &zero);
	if (!packet->counters)
		return XDP_DROP;
	count(packet, IPVSD_RECEIVED);
	return drop(packet, IPVSD_DROPPED_NO_NEXT_HOP);
}
