// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The programs of `ipvsd-bench frames`. A test run with live frames (BPF_F_TEST_XDP_LIVE_FRAMES) sends frames from one
 * end of a veth pair to the measured program at the other end. They come back and are counted. The kernel uses their
 * pages again without a reset, so the generator writes all headers of each frame. */
#include "bench_floor.h"
#include "map_types.h"

#include <linux/pkt_cls.h>

#define FRAME_WORDS 8

/* `FrameState` of FrameBench.swift has the same layout. One CPU uses it. */
struct frame_state {
	__u64 flow;  /* of the next frame */
	__u64 flows; /* then the first one again */
	__u64 sent;
	__u64 arrived;
	__u64 encapsulated; /* of the arrived ones */
	__u64 checksum;     /* of the IP header: the sum of its other 32-bit words */
	__u64 frame[FRAME_WORDS];
};

MMAP_ARRAY(frames, struct frame_state);

static __always_inline struct frame_state *get_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&frames, &zero);
}

/* The generator at the near end. XDP_TX sends to the far end. */
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

/* Counts frames of IPv4. A veth also carries other frames of its own stack. */
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

/* The end of a frame's way. At the far end the program is the harness. */
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	arrive((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	return XDP_DROP;
}

/* The same for packets of the network stack. */
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
