// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The programs of `ipvsd-bench packets`. With `repeat`, each run of a test gets the packet as the previous run left it.
 * So next_packet restores the packet, writes another client into it, and calls the measured program. */
#include "bench_floor.h"
#include "map_types.h"
#include "packet.h"

#define PORT 80

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} measured SEC(".maps");

/* The state of next_packet. PacketSequence.swift has the same layout. */
struct sequence {
	__u64 flow;         /* the number of the next packet's flow */
	__u64 flows;        /* the number of flows that take turns; 0: each packet has another flow */
	__u64 frame;        /* the length of a packet as it comes in */
	__u64 port_mask;    /* the bits of a flow's number that are added to PORT for its destination port */
	__u64 bucket_mask;  /* the number of the flow table's buckets, less one */
	__u64 packets;      /* the number of packets so far */
	__u64 encapsulated; /* the number of packets that a later run found encapsulated */
	__u64 macs;         /* the destination's MAC, and the first two bytes of the source's */
};

MMAP_ARRAY(sequences, struct sequence);

/* The director's flow table. The benchmark sets the same number of entries. */
MMAP_ARRAY(director_flows, struct ipvsd_bucket);

SEC("xdp")
int next_packet(struct xdp_md *ctx)
{
	__u32 zero = 0, grown;
	struct sequence *sequence = bpf_map_lookup_elem(&sequences, &zero);
	void *data, *end;
	struct iphdr *ip;
	__be16 *ports;
	__u64 flow;

	if (!sequence)
		return XDP_ABORTED;
	grown = frame_length((void *)(long)ctx->data, (void *)(long)ctx->data_end) - sequence->frame;
	/* The function is called even if the packet has not grown, so that all programs have the same harness. */
	if (bpf_xdp_adjust_head(ctx, (int)grown))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + sizeof(struct ethhdr);
	if ((void *)(ip + 1) + 2 * sizeof(__be16) > end)
		return XDP_ABORTED;
	sequence->packets++;
	sequence->encapsulated += grown == sizeof(*ip);
	flow = sequence->flow;
	sequence->flow = flow + 1 == sequence->flows ? 0 : flow + 1;
	write_ethernet(data);
	*(__u64 *)data = sequence->macs;
	ip->saddr = bpf_htonl(0x0a000000 + (__u32)(flow >> 14));
	ports = (__be16 *)(ip + 1);
	ports[0] = bpf_htons(1024 + (flow & 0x3fff));
	ports[1] = bpf_htons(PORT + (flow & sequence->port_mask));
	bpf_tail_call(ctx, &measured, 0);
	return XDP_ABORTED;
}

/* The program of the harness alone, which does nothing. */
SEC("xdp")
int nothing(struct xdp_md *ctx) { return XDP_PASS; }

SEC("xdp")
int bare_encapsulation(struct xdp_md *ctx) { return encapsulate_bare(ctx, 0); }

/* A bare encapsulation with the least that a flow table needs. It reads one bucket of the director's table, at an index
 * that a hash gives. A field of the outer header depends on the bucket, so that the compiler keeps the read. */
SEC("xdp")
int bare_encapsulation_with_bucket(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct sequence *sequence;
	struct ipvsd_bucket *bucket;
	__u32 index = 0;
	__u64 hash;

	sequence = bpf_map_lookup_elem(&sequences, &index);
	if (!sequence || (void *)(ip + 1) + sizeof(__be16) > end)
		return XDP_PASS;
	hash = ((__u64)ip->saddr << 16 | *(__be16 *)(ip + 1)) * IPVSD_GOLDEN_RATIO_64;
	index = hash >> 32 & sequence->bucket_mask;
	bucket = bpf_map_lookup_elem(&director_flows, &index);
	if (!bucket)
		return XDP_PASS;
	return encapsulate_bare(ctx, bucket->way[0].value == ~0ull);
}

char _license[] SEC("license") = "Dual MIT/GPL";
