/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The fast path of most packets, which belong to a recorded connection and only have to be sent on. They have neither
 * tags nor IP options and are not fragments, so that most offsets are known at compile time. Nothing is changed or
 * counted before the packet's end is certain. All other packets take the general path. */
#pragma once

#include "flows.h"
#include "forward.h"
#include "listeners.h"
#include "packet.h"
#include "trace.h"

/* The services whose packets take the general path. */
#define NOT_PLAIN_SERVICE                                                                                              \
	(IPVSD_SERVICE_RESETS | IPVSD_SERVICE_REHASHES | IPVSD_SERVICE_PERSISTENT | IPVSD_SERVICE_ONE_PACKET)

/* Whether the packet is a whole datagram, or an ACK that neither opens nor closes a connection. */
static __always_inline bool is_plain(const struct packet *packet, const struct tcphdr *tcp)
{
	if (packet->protocol == IPPROTO_UDP)
		return packet->tot_len >= sizeof(struct iphdr) + sizeof(struct udphdr);
	return packet->protocol == IPPROTO_TCP &&
	       (((const __u8 *)tcp)[TCP_FLAGS] & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK &&
	       tcp->doff >= TCP_MIN_DOFF && sizeof(struct iphdr) + tcp->doff * 4u <= packet->tot_len;
}

/* Returns the id of the connection's real server. It is 0 where the flow's own half has no established entry of the
 * flow, or the entry's stamp has to be refreshed. */
static __always_inline __u32 established_server(const struct packet *packet,
						const struct ipvsd_listener_value *listener)
{
	const __u32 state = packet->protocol == IPPROTO_TCP ? IPVSD_STATE_ESTABLISHED : IPVSD_STATE_UDP;
	const __u32 freshness = settings.timeout[state] >> LAG_SHIFT;
	struct flow_reference flow;
	struct ipvsd_flow *ways;
	__u64 wanted;

	if (!locate(packet->client, packet->client_port, packet->port, listener, &flow))
		return 0;
	wanted = flow.identity | (__u64)state << IPVSD_FLOW_STATE_SHIFT;
	BOUND_HALF(flow.half);
	ways = &flow.bucket->way[flow.half];
#pragma unroll
	for (int i = 0; i < IPVSD_WAYS / 2; i++) {
		__u64 value;

		if (*(volatile __u64 *)&ways[i].key != flow.key)
			continue;
		value = *(volatile __u64 *)&ways[i].value;
		if ((value & (IPVSD_FLOW_IDENTITY_MASK | IPVSD_FLOW_STATE_MASK)) == wanted &&
		    is_younger(value, flow.now, freshness)) {
			TRACE(trace_flow(&flow, value, flow.half + i, IPVSD_PLACE_FIRST_BUCKET));
			return ipvsd_flow_server(value);
		}
	}
	return 0;
}

static __always_inline const struct ipvsd_next_hop *plain_next_hop(const struct packet *packet, __u32 server_id)
{
	const struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	const struct ipvsd_next_hop *hop;
	__u32 hop_id;

	if (!server || (packet->protocol == IPPROTO_UDP && server->flags & (IPVSD_SERVER_DOWN | IPVSD_SERVER_LEFT)))
		return NULL;
	hop_id = *(const volatile __u32 *)&server->next_hop;
	TRACE(trace.next_hop = hop_id);
	hop = bpf_map_lookup_elem(&next_hops, &hop_id);
	return hop && hop->flags & IPVSD_NEXT_HOP_RESOLVED && !hop->tag_length &&
			       packet->tot_len + IPVSD_ENCAPSULATION <= hop->mtu
		       ? hop
		       : NULL;
}

/* Whether the packet ends here, with `verdict` as the XDP action. It is not for a VIP, is sent on, or is dropped after
 * an internal error. */
static __always_inline bool on_established(struct xdp_md *ctx, void *data, void *end, int *verdict)
{
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + sizeof(*ethernet);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct packet packet = { .ctx = ctx, .l3 = sizeof(*ethernet) };
	struct ipvsd_listener_value listener;
	const struct ipvsd_next_hop *hop;
	__u32 server, zero = 0;

	if ((void *)(tcp + 1) > end || ether_type(ethernet) != bpf_htons(ETH_P_IP))
		return false;
	if (!may_be_vip(ip->daddr)) {
		*verdict = XDP_PASS;
		return true;
	}
	if (*(__u8 *)ip != IP_PLAIN || ip->frag_off & ~bpf_htons(IP_DF) || settings.is_migrating ||
	    !is_for_director(ethernet))
		return false;
	read_ipv4(&packet, ip);
	packet.client_port = tcp->source;
	packet.port = tcp->dest;
	if (packet.tot_len + sizeof(*ethernet) > frame_length(data, end) || packet.tot_len > settings.ingress_mtu ||
	    !is_plain(&packet, tcp) || !find_listener(packet.vip, packet.port, packet.protocol, &listener) ||
	    listener.flags & NOT_PLAIN_SERVICE)
		return false;
	server = established_server(&packet, &listener);
	hop = server ? plain_next_hop(&packet, server) : NULL;
	packet.counters = hop ? bpf_map_lookup_elem(&counters, &zero) : NULL;
	if (!packet.counters)
		return false;
	count(&packet, IPVSD_RECEIVED);
	trace_listener(&listener);
	trace_server(&packet, server);
	if (encapsulate(&packet, server, hop, 0)) {
		count_forwarded(&packet, server);
		*verdict = transmit(&packet, hop);
	} else {
		*verdict = drop(&packet, IPVSD_DROPPED_INTERNAL);
	}
	return true;
}
