/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Most packets there are: of a recorded connection, with nothing to be done for it but to send them on. Without tags,
 * options and fragments most of what the general way works out is known when the program is compiled. Nothing is
 * changed or counted before the packet's way is certain; whatever is not as plain as that takes the general way. */
#pragma once

#include "flows.h"
#include "forward.h"
#include "listeners.h"
#include "packet.h"

/* RFC 9293 section 3.1, in the header's byte 13. */
#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_ACK 0x10

#define NEEDS_MORE                                                                                                     \
	(IPVSD_SERVICE_RESETS | IPVSD_SERVICE_REHASHES | IPVSD_SERVICE_PERSISTENT | IPVSD_SERVICE_ONE_PACKET)

/* An ACK that neither opens nor closes, or a datagram, whole. */
static __always_inline int is_plain(const struct packet *packet, const struct tcphdr *tcp)
{
	if (packet->protocol == IPPROTO_UDP)
		return packet->length >= sizeof(struct iphdr) + sizeof(struct udphdr);
	return packet->protocol == IPPROTO_TCP &&
	       (((const __u8 *)tcp)[13] & (FLAG_FIN | FLAG_SYN | FLAG_RST | FLAG_ACK)) == FLAG_ACK && tcp->doff >= 5 &&
	       sizeof(struct iphdr) + tcp->doff * 4u <= packet->length;
}

/* The real server's id, 0 where there is no such connection, or its stamp has to be refreshed. */
static __always_inline __u32 established_server(const struct packet *packet, __u16 flow_service)
{
	const __u32 state = packet->protocol == IPPROTO_TCP ? IPVSD_STATE_ESTABLISHED : IPVSD_STATE_UDP;
	const __u32 freshness = settings.timeout[state] >> LAG_SHIFT;
	struct flow_reference flow;
	struct ipvsd_flow *ways;
	__u64 wanted;

	if (!locate(packet->client, packet->client_port, packet->port, flow_service, &flow))
		return 0;
	wanted = flow.identity | (__u64)state << STATE_SHIFT;
	BOUND_HALF(flow.half);
	ways = &flow.bucket->way[flow.half];
#pragma unroll
	for (int i = 0; i < IPVSD_WAYS / 2; i++) {
		__u64 value;

		if (*(volatile __u64 *)&ways[i].key != flow.key)
			continue;
		value = *(volatile __u64 *)&ways[i].value;
		if ((value & (IDENTITY_MASK | STATE_MASK)) == wanted && is_younger(value, flow.now, freshness))
			return server_of(value);
	}
	return 0;
}

static __always_inline const struct ipvsd_path *plain_path(const struct packet *packet, __u32 server_id)
{
	const struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	const struct ipvsd_path *path;
	__u32 path_id;

	if (!server || (packet->protocol == IPPROTO_UDP && server->flags & IPVSD_SERVER_DOWN))
		return 0;
	path_id = *(const volatile __u32 *)&server->path;
	path = bpf_map_lookup_elem(&paths, &path_id);
	return path && path->flags & IPVSD_PATH_RESOLVED && !path->tag_length &&
			       packet->length + ENCAPSULATION <= path->mtu
		       ? path
		       : 0;
}

/* Whether it was sent on, or is for nobody here, and the XDP verdict. */
static __always_inline int on_established(struct xdp_md *ctx, void *data, void *end, int *verdict)
{
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + sizeof(*ethernet);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct packet packet = { .ctx = ctx, .l3 = sizeof(*ethernet), .header_length = sizeof(*ip) };
	struct ipvsd_service_value listener;
	const struct ipvsd_path *path;
	__u32 server, zero = 0;

	if ((void *)(tcp + 1) > end || ether_type(ethernet) != bpf_htons(ETH_P_IP))
		return 0;
	if (!may_be_vip(ip->daddr)) {
		*verdict = XDP_PASS;
		return 1;
	}
	if (*(__u8 *)ip != 0x45 || ip->frag_off & ~bpf_htons(IP_DF) || settings.is_moving ||
	    !is_for_director(ethernet))
		return 0;
	packet.length = bpf_ntohs(ip->tot_len);
	packet.client = ip->saddr;
	packet.vip = ip->daddr;
	packet.client_port = tcp->source;
	packet.port = tcp->dest;
	packet.protocol = ip->protocol;
	packet.tos = ip->tos;
	packet.fragment = ip->frag_off;
	if (packet.length + sizeof(*ethernet) > frame_length(data, end) || packet.length > settings.ingress_mtu ||
	    !is_plain(&packet, tcp) || !find_listener(packet.vip, packet.port, packet.protocol, &listener) ||
	    listener.flags & NEEDS_MORE)
		return 0;
	server = established_server(&packet, listener.flow_service);
	path = server ? plain_path(&packet, server) : 0;
	packet.counters = path ? bpf_map_lookup_elem(&counters, &zero) : 0;
	if (!packet.counters)
		return 0;
	count(&packet, IPVSD_RECEIVED);
	if (encapsulate(&packet, path, 0)) {
		count_forwarded(&packet, server);
		*verdict = transmit(&packet, path);
	} else {
		*verdict = drop(&packet, IPVSD_DROPPED_INTERNAL);
	}
	return 1;
}
