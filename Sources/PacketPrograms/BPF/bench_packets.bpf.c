// SPDX-License-Identifier: MIT OR GPL-2.0
/* What `ipvsd-bench packets` needs: with `repeat` a test run gives a program the packet as the last run left it. So
 * next_packet restores it, makes it another client's, and calls the program that is measured. */
#include "maps.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} measured SEC(".maps");

/* As PacketSequence.swift has it. */
struct sequence {
	__u64 flow;         /* of the next packet */
	__u64 flows;        /* then the first one again */
	__u64 frame;        /* length of the packet as it comes in */
	__u64 packets;      /* so far */
	__u64 encapsulated; /* of them, as far as the next run has seen */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sequence);
} sequences SEC(".maps");

static __always_inline void write_ethernet(void *at)
{
	*(__u64 *)at = 0x0002020000000002;       /* to 02:00:00:00:00:02 */
	*(__u32 *)(at + 8) = 0x01000000;         /* from 02:00:00:00:00:01 */
	*(__be16 *)(at + 12) = bpf_htons(ETH_P_IP);
}

SEC("xdp")
int next_packet(struct xdp_md *ctx)
{
	__u32 zero = 0, grown;
	struct sequence *sequence = bpf_map_lookup_elem(&sequences, &zero);
	void *data, *end;
	struct iphdr *ip;
	__u64 flow;

	if (!sequence)
		return XDP_ABORTED;
	grown = frame_length(ctx) - (__u32)sequence->frame;
	/* Called in any case, so that a program that changes nothing has the same harness. */
	if (bpf_xdp_adjust_head(ctx, (int)grown))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + sizeof(struct ethhdr);
	if ((void *)(ip + 1) + sizeof(__be16) > end)
		return XDP_ABORTED;
	sequence->packets++;
	sequence->encapsulated += grown == sizeof(*ip);
	flow = sequence->flow;
	sequence->flow = flow + 1 == sequence->flows ? 0 : flow + 1;
	write_ethernet(data);
	ip->saddr = bpf_htonl(0x0a000000 + (__u32)(flow >> 14));
	*(__be16 *)(ip + 1) = bpf_htons(1024 + (flow & 0x3fff));
	bpf_tail_call(ctx, &measured, 0);
	return XDP_ABORTED;
}

/* The harness alone. */
SEC("xdp")
int nothing(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* The least that carries a packet to a real server: no tables, no state, no counters. */
SEC("xdp")
int bare_encapsulation(struct xdp_md *ctx)
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
	write_ip(data + sizeof(struct ethhdr), tos, length, 0, fragment, IPPROTO_IPIP, bpf_htonl(0xcb007101),
		 bpf_htonl(0xac100001));
	return XDP_TX;
}

char _license[] SEC("license") = "Dual MIT/GPL";
