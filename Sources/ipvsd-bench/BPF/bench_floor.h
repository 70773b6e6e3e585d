/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The floor that ipvsd is measured beside: an encapsulation without tables, state and counters. */
#pragma once

#include "packet.h"

static __always_inline void write_ethernet(void *at)
{
	*(__u64 *)at = 0x0002020000000002; /* to 02:00:00:00:00:02 */
	*(__u32 *)(at + 8) = 0x01000000;   /* from 02:00:00:00:00:01 */
	*(__be16 *)(at + 12) = bpf_htons(ETH_P_IP);
}

static __always_inline int encapsulate_bare(struct xdp_md *ctx, __be16 id)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + sizeof(*ethernet);
	__u32 length;
	__be16 fragment;
	__u8 tos;

	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4 || ip->ihl != 5 ||
	    (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
		return XDP_PASS;
	length = bpf_ntohs(ip->tot_len) + sizeof(*ip);
	tos = ip->tos;
	fragment = ip->frag_off & bpf_htons(IP_DF);
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(struct ethhdr) + sizeof(*ip) > end)
		return XDP_DROP;
	write_ethernet(data);
	write_ip(data + sizeof(struct ethhdr), tos, length, id, fragment, IPPROTO_IPIP, bpf_htonl(0xcb007101),
		 bpf_htonl(0xac100001));
	return XDP_TX;
}
