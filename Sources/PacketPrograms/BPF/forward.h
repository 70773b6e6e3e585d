/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Encapsulation (RFC 2003) toward a real server, and sending. */
#pragma once

#include "answer.h"
#include "maps.h"
#include "packet.h"

#define ENCAPSULATION 20

/* Outer datagrams without DF need identifiers that differ; 0 is left out, some stacks take it for "none". */
static __u32 identifier;

static __always_inline __be16 outer_id(__be16 fragment)
{
	__u16 id;

	if (fragment & bpf_htons(IP_DF))
		return 0;
	id = __sync_fetch_and_add(&identifier, 1);
	return bpf_htons(id ? id : 1);
}

/* By way of a device of ours, from which the kernel forwards, and fragments, what comes in. */
static __always_inline int leave_to_kernel(const struct packet *packet, struct ethhdr *ethernet)
{
	for (int i = 0; i < ETH_ALEN; i++)
		ethernet->h_dest[i] = packet->settings->fragmenting_mac[i];
	return bpf_redirect_map(&egress, packet->settings->fragmenting_ifindex, 0);
}

static __always_inline int forward(struct packet *packet, __u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	struct ipvsd_statistics *total;
	struct ipvsd_path *path;
	__u32 path_id;
	int must_fragment = 0;
	void *data, *end;

	if (!server)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	path_id = *(volatile __u32 *)&server->path;
	path = bpf_map_lookup_elem(&paths, &path_id);
	if (!path || !(path->flags & IPVSD_PATH_RESOLVED))
		return drop(packet, IPVSD_DROPPED_NO_NEXT_HOP);

	if (packet->length + ENCAPSULATION > path->mtu) {
		if (packet->is_icmp_error)
			return drop(packet, IPVSD_DROPPED_TOO_BIG_ICMP_ERROR);
		if (packet->fragment & bpf_htons(IP_DF))
			return answer_unreachable(packet, ICMP_FRAGMENTATION_NEEDED, path->mtu - ENCAPSULATION,
						  IPVSD_ANSWERED_TOO_BIG);
		if (!packet->settings->fragmenting_ifindex)
			return drop(packet, IPVSD_DROPPED_TOO_BIG_WITHOUT_DF);
		count(packet, IPVSD_EVENT_FRAGMENTED);
		must_fragment = 1;
	}

	/* The new Ethernet header stands 34 bytes before the inner packet; tags of the way in stay behind. */
	if (bpf_xdp_adjust_head(packet->ctx, (int)packet->l3 - (int)sizeof(struct ethhdr) - ENCAPSULATION))
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	data = (void *)(long)packet->ctx->data;
	end = (void *)(long)packet->ctx->data_end;
	if (data + sizeof(struct ethhdr) + ENCAPSULATION > end)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	*(__u64 *)data = path->mac_first8;
	*(__u32 *)(data + 8) = path->mac_last4;
	*(__be16 *)(data + 12) = bpf_htons(ETH_P_IP);
	/* DSCP and ECN are copied whole: RFC 6040's normal mode. */
	write_ip(data + sizeof(struct ethhdr), packet->tos, packet->length + ENCAPSULATION, outer_id(packet->fragment),
		 packet->fragment & bpf_htons(IP_DF), IPPROTO_IPIP, path->source, path->destination);

	total = bpf_map_lookup_elem(&statistics, &server_id);
	if (total) {
		total->packets++;
		total->bytes += packet->length;
	}
	count(packet, IPVSD_FORWARDED);
	if (must_fragment)
		return leave_to_kernel(packet, data);
	if (path->flags & IPVSD_PATH_TRANSMIT)
		return XDP_TX;
	return bpf_redirect_map(&egress, path->ifindex, 0);
}
