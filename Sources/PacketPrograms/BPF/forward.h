/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Encapsulation (RFC 2003) toward a real server, and sending. */
#pragma once

#include "constants.h"
#include "icmp_rst.h"
#include "maps.h"
#include "outer_id.h"
#include "packet.h"
#include "trace.h"

/* Sends the encapsulated packet into the device settings.fragmenting_ifindex. The packet comes in on the device's peer,
 * and the kernel forwards and fragments it. */
static __always_inline int leave_to_kernel(const struct packet *packet)
{
	struct ethhdr *ethernet = (void *)(long)packet->ctx->data;

	if ((void *)(ethernet + 1) > (void *)(long)packet->ctx->data_end)
		return XDP_ABORTED;
	for (int i = 0; i < ETH_ALEN; i++)
		ethernet->h_dest[i] = settings.fragmenting_mac[i];
	return bpf_redirect_map(&egress, settings.fragmenting_ifindex, 0);
}

static __always_inline __be32 varied_source(const struct packet *packet)
{
	return constants.outer_prefix | (ipvsd_outer_host(packet->client, packet->client_port) & constants.outer_mask);
}

/* Returns the outer source, which is the path's own address. By an option it varies from flow to flow, so that a real
 * server's NIC spreads flows over its queues. */
static __always_inline __be32 outer_source(const struct packet *packet, const struct ipvsd_next_hop *hop)
{
	if (!constants.outer_mask)
		return hop->source;
	return varied_source(packet);
}

/* Traces the real server of a packet, and an outer source that varies by flow, whether or not the packet can leave. */
static __always_inline void trace_server(const struct packet *packet, __u32 server_id)
{
	TRACE(trace.server = server_id);
	TRACE(if (constants.outer_mask) trace.outer_source = varied_source(packet));
}

static __always_inline void count_forwarded(struct packet *packet, __u32 server_id)
{
	struct ipvsd_statistics *total = packet->total ? packet->total : bpf_map_lookup_elem(&statistics, &server_id);

	if (total) {
		WRITE(total->packets++);
		WRITE(total->bytes += packet->tot_len);
	}
	count(packet, IPVSD_FORWARDED);
}

/* Writes an Ethernet header and the outer IP header before the IP packet. The received Ethernet header and tags are
 * overwritten. Returns false where the kernel gives no room. tag_length has to be a constant, since an added variable
 * makes the verifier forget the checked bounds. */
static __always_inline bool encapsulate(struct packet *packet, __u32 server_id, const struct ipvsd_next_hop *hop,
					__u32 tag_length)
{
	const __u32 header = sizeof(struct ethhdr) + tag_length;
	void *data, *end;

	if (bpf_xdp_adjust_head(packet->ctx, (int)packet->l3 - (int)(header + IPVSD_ENCAPSULATION)))
		return false;
	data = (void *)(long)packet->ctx->data;
	end = (void *)(long)packet->ctx->data_end;
	if (data + header + IPVSD_ENCAPSULATION > end)
		return false;
	/* The copy is in words, as memcpy would become a copy of bytes. */
	*(__u64 *)data = *(const __u64 *)&hop->eth_addrs[0];
	*(__u32 *)(data + sizeof(__u64)) = *(const __u32 *)&hop->eth_addrs[sizeof(__u64)];
	if (tag_length)
		*(__u32 *)(data + sizeof(hop->eth_addrs)) = hop->tags;
	if (tag_length > sizeof(struct vlan_tag))
		*(__u32 *)(data + sizeof(hop->eth_addrs) + sizeof(struct vlan_tag)) = hop->tags >> 32;
	*(__be16 *)(data + header - 2) = bpf_htons(ETH_P_IP);
	/* DSCP and ECN are copied whole: RFC 6040's normal mode. */
	write_ip(data + header, packet->tos, packet->tot_len + IPVSD_ENCAPSULATION, 0,
		 packet->frag_off & bpf_htons(IP_DF), IPPROTO_IPIP, outer_source(packet, hop), hop->destination);
	if (!(packet->frag_off & bpf_htons(IP_DF)))
		set_outer_id(data + header, server_id);
	return true;
}

/* Encapsulates a packet, with the tags that the next hop's interface needs. */
static __always_inline bool encapsulate_for(struct packet *packet, __u32 server_id, const struct ipvsd_next_hop *hop)
{
	if (!hop->tag_length)
		return encapsulate(packet, server_id, hop, 0);
	return hop->tag_length == sizeof(struct vlan_tag)
		       ? encapsulate(packet, server_id, hop, sizeof(struct vlan_tag))
		       : encapsulate(packet, server_id, hop, 2 * sizeof(struct vlan_tag));
}

/* Sends an encapsulated packet by its next hop's interface. */
static __always_inline int transmit(const struct packet *packet, const struct ipvsd_next_hop *hop)
{
	if (hop->flags & IPVSD_NEXT_HOP_TRANSMIT &&
	    (!constants.several_ingress || packet->ctx->ingress_ifindex == hop->ifindex))
		return XDP_TX;
	return bpf_redirect_map(&egress, hop->ifindex, 0);
}

static __always_inline int forward(struct packet *packet, __u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	struct ipvsd_next_hop *hop;
	__u32 hop_id;
	bool must_fragment = false;

	if (!server)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	trace_server(packet, server_id);
	hop_id = *(volatile __u32 *)&server->next_hop;
	TRACE(trace.next_hop = hop_id);
	hop = bpf_map_lookup_elem(&next_hops, &hop_id);
	if (!hop)
		return drop(packet, IPVSD_DROPPED_NO_NEXT_HOP);
	if (!(hop->flags & IPVSD_NEXT_HOP_RESOLVED)) {
		if (!(hop->flags & IPVSD_NEXT_HOP_LOCAL))
			return drop(packet, IPVSD_DROPPED_NO_NEXT_HOP);
		count_forwarded(packet, server_id);
		return XDP_PASS;
	}

	if (packet->tot_len + IPVSD_ENCAPSULATION > hop->mtu) {
		if (packet->is_icmp_error)
			return drop(packet, IPVSD_DROPPED_TOO_BIG_ICMP_ERROR);
		if (packet->frag_off & bpf_htons(IP_DF))
			return answer_unreachable(packet, ICMP_FRAGMENTATION_NEEDED, hop->mtu - IPVSD_ENCAPSULATION,
						  IPVSD_ANSWERED_TOO_BIG);
		if (!settings.fragmenting_ifindex)
			return drop(packet, IPVSD_DROPPED_TOO_BIG_WITHOUT_DF);
		count(packet, IPVSD_EVENT_FRAGMENTED);
		must_fragment = true;
	}

	if (!(must_fragment ? encapsulate(packet, server_id, hop, 0) : encapsulate_for(packet, server_id, hop)))
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	count_forwarded(packet, server_id);
	return must_fragment ? leave_to_kernel(packet) : transmit(packet, hop);
}
