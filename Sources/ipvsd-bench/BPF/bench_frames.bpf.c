// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The programs of `ipvsd-bench frames`. A test run with live frames (BPF_F_TEST_XDP_LIVE_FRAMES) sends frames from one
 * end of a veth pair to the measured program at the other end. The frames come back and are counted. The kernel uses
 * their pages again as they are, so the generator writes all headers of each frame. */
#include "bench_floor.h"
#include "map_types.h"

#include <linux/pkt_cls.h>

#define FRAME_WORDS 8

/* The row of `frames`, which only one CPU uses. `FrameState` of FrameBench.swift has the same layout. */
struct frame_state {
	__u64 flow;  /* the number of the next frame's flow */
	__u64 flows; /* the number of flows that take turns; 0: each frame has another flow */
	__u64 sent;
	__u64 arrived;
	__u64 encapsulated; /* frames among the arrived ones */
	__u64 checksum;     /* the sum of the IP header without the client */
	__u64 frame[FRAME_WORDS];
};

MMAP_ARRAY(frames, struct frame_state);

static __always_inline struct frame_state *get_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&frames, &zero);
}

/* The generator at the near end of the veth pair. XDP_TX sends a frame to the far end. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct frame_state *state = get_state();
	__be32 client;
	__u64 flow;

	if (!state || data + FRAME_WORDS * 8 > end)
		return XDP_ABORTED;
	flow = state->flow;
	state->flow = flow + 1 == state->flows ? 0 : flow + 1;
	state->sent++;
	client = bpf_htonl(0x0a000000 + (__u32)(flow >> 14));
#pragma unroll
	for (int i = 0; i < FRAME_WORDS; i++)
		((__u64 *)data)[i] = state->frame[i];
	ip->saddr = client;
	ip->check = fold(state->checksum + client);
	*(__be16 *)(ip + 1) = bpf_htons(1024 + (flow & 0x3fff));
	return XDP_TX;
}

/* Counts a frame of IPv4, and returns whether it was one. The veth also carries other frames, which its network stack
 * sends. */
static __always_inline bool arrive(void *data, void *end)
{
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + sizeof(*ethernet);
	struct frame_state *state = get_state();

	if (!state || (void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return false;
	state->arrived++;
	state->encapsulated += ip->protocol == IPPROTO_IPIP;
	return true;
}

/* Counts and drops a frame: at the near end, where its way ends, and at the far end as the subject `harness`. */
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	arrive((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	return XDP_DROP;
}

/* Counts and drops a packet of the network stack: at the near end, and at the far end as the subject `stack`. Frames
 * that are not IPv4 go on. */
SEC("tc")
int sink_stack(struct __sk_buff *skb)
{
	return arrive((void *)(long)skb->data, (void *)(long)skb->data_end) ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("xdp")
int to_stack(struct xdp_md *ctx) { return XDP_PASS; }

/* A program that only sends a frame back. */
SEC("xdp")
int reflector(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	__u8 address[ETH_ALEN];

	if ((void *)(ethernet + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(address, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, address, ETH_ALEN);
	return XDP_TX;
}

SEC("xdp")
int bare_encapsulation(struct xdp_md *ctx) { return encapsulate_bare(ctx, 0); }

char _license[] SEC("license") = "Dual MIT/GPL";
