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
static __always_inline int leave_to_kernel(const struct packet *packet)
{
	struct ethhdr *ethernet = (void *)(long)packet->ctx->data;

	if ((void *)(ethernet + 1) > (void *)(long)packet->ctx->data_end)
		return XDP_ABORTED;
	for (int i = 0; i < ETH_ALEN; i++)
		ethernet->h_dest[i] = settings.fragmenting_mac[i];
	return bpf_redirect_map(&egress, settings.fragmenting_ifindex, 0);
}

/* One address for each real server, or by option one that varies from flow to flow, so that a real server's NIC
 * spreads them over its queues. */
static __always_inline __be32 outer_source(const struct packet *packet, const struct ipvsd_path *path)
{
	__u32 hash;

	if (!constants.outer_mask)
		return path->source;
	hash = (packet->client ^ (__u32)packet->client_port * 0x9E3779B1u) * 0x85EBCA6Bu;
	hash ^= hash >> 15;
	hash *= 0xC2B2AE35u;
	hash ^= hash >> 16;
	return constants.outer_prefix | (hash & constants.outer_mask);
}

static __always_inline void count_forwarded(struct packet *packet, __u32 server_id)
{
	struct ipvsd_statistics *total = bpf_map_lookup_elem(&statistics, &server_id);

	if (total) {
		total->packets++;
		total->bytes += packet->length;
	}
	count(packet, IPVSD_FORWARDED);
}

/* The new Ethernet header stands before the outer IP header; tags of the way in stay behind. tag_length has to be a
 * constant: the verifier forgets how much of a packet was checked when something variable is added. */
static __always_inline int encapsulate(struct packet *packet, const struct ipvsd_path *path, __u32 tag_length)
{
	const __u32 header = sizeof(struct ethhdr) + tag_length;
	void *data, *end;

	if (bpf_xdp_adjust_head(packet->ctx, (int)packet->l3 - (int)(header + ENCAPSULATION)))
		return 0;
	data = (void *)(long)packet->ctx->data;
	end = (void *)(long)packet->ctx->data_end;
	if (data + header + ENCAPSULATION > end)
		return 0;
	*(__u64 *)data = path->mac_first8;
	*(__u32 *)(data + 8) = path->mac_last4;
	if (tag_length)
		*(__u32 *)(data + 12) = path->tags;
	if (tag_length > 4)
		*(__u32 *)(data + 16) = path->tags >> 32;
	*(__be16 *)(data + header - 2) = bpf_htons(ETH_P_IP);
	/* DSCP and ECN are copied whole: RFC 6040's normal mode. */
	write_ip(data + header, packet->tos, packet->length + ENCAPSULATION, outer_id(packet->fragment),
		 packet->fragment & bpf_htons(IP_DF), IPPROTO_IPIP, outer_source(packet, path), path->destination);
	return 1;
}

/* An encapsulated packet, by its path's interface. */
static __always_inline int transmit(const struct packet *packet, const struct ipvsd_path *path)
{
	if (path->flags & IPVSD_PATH_TRANSMIT &&
	    (!constants.several_ingress || packet->ctx->ingress_ifindex == path->ifindex))
		return XDP_TX;
	return bpf_redirect_map(&egress, path->ifindex, 0);
}

static __always_inline int forward(struct packet *packet, __u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	struct ipvsd_path *path;
	__u32 path_id;
	int is_encapsulated, must_fragment = 0;

	if (!server)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	path_id = *(volatile __u32 *)&server->path;
	path = bpf_map_lookup_elem(&paths, &path_id);
	if (!path)
		return drop(packet, IPVSD_DROPPED_NO_NEXT_HOP);
	if (!(path->flags & IPVSD_PATH_RESOLVED)) {
		if (!(path->flags & IPVSD_PATH_LOCAL))
			return drop(packet, IPVSD_DROPPED_NO_NEXT_HOP);
		count_forwarded(packet, server_id);
		return XDP_PASS;
	}

	if (packet->length + ENCAPSULATION > path->mtu) {
		if (packet->is_icmp_error)
			return drop(packet, IPVSD_DROPPED_TOO_BIG_ICMP_ERROR);
		if (packet->fragment & bpf_htons(IP_DF))
			return answer_unreachable(packet, ICMP_FRAGMENTATION_NEEDED, path->mtu - ENCAPSULATION,
						  IPVSD_ANSWERED_TOO_BIG);
		if (!settings.fragmenting_ifindex)
			return drop(packet, IPVSD_DROPPED_TOO_BIG_WITHOUT_DF);
		count(packet, IPVSD_EVENT_FRAGMENTED);
		must_fragment = 1;
	}

	if (!path->tag_length || must_fragment)
		is_encapsulated = encapsulate(packet, path, 0);
	else if (path->tag_length == 4)
		is_encapsulated = encapsulate(packet, path, 4);
	else
		is_encapsulated = encapsulate(packet, path, 8);
	if (!is_encapsulated)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	count_forwarded(packet, server_id);
	return must_fragment ? leave_to_kernel(packet) : transmit(packet, path);
}
