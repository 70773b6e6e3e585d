/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* New flows' places in the table, and what gives way to them. */
#pragma once

#include "flows.h"

#define READY_FREE 5 /* or expired: nobody loses by it */

/* How willingly an entry gives way, 0 for not at all. Entries younger than two ticks stay: the key of a fresh one may
 * not be there yet. Without the last two a spoofed datagram, or SYN and ACK, would hold its entry for minutes. */
static __always_inline __u32 readiness(__u64 value, __u16 now)
{
	if (!value || is_expired(value, now))
		return READY_FREE;
	if (age_of(value, now) < 2)
		return 0;
	switch (state_of(value)) {
	case IPVSD_STATE_SYN_RECV:
		return 4;
	case IPVSD_STATE_TIME_WAIT:
	case IPVSD_STATE_CLOSE:
		return 3;
	case IPVSD_STATE_ONE_DATAGRAM:
		return 2;
	case IPVSD_STATE_BARE_ACK:
		return 1;
	}
	return 0;
}

/* A flow of the bucket has no entry: for the longest time-out from now, packets without an entry are rederived. */
static __always_inline void mark_overflow(__u32 bucket_index, __u16 now)
{
	struct ipvsd_overflow *overflow = overflows_of(bucket_index);

	if (overflow)
		overflow->stamp[bucket_index & 31] = now ? now : 1;
}

/* A choice: a way, and how ready what is there is to give way, 0: not at all. */
#define CHOICE(way, rank) ((way) | (rank) << 8)
#define WAY_OF(choice) ((choice) & 0xff)
#define RANK_OF(choice) ((choice) >> 8)

/* The readiest way, from `half` on. Global functions: see find_second. */
__noinline int choose_way(__u32 index, __u32 half, __u32 now)
{
	struct ipvsd_bucket *bucket = bpf_map_lookup_elem(&flows, &index);
	__u32 best_way = 0, best_rank = 0;

	if (!bucket)
		return 0;
	for (int i = 0; i < IPVSD_WAYS && best_rank != READY_FREE; i++) {
		__u32 way = half ^ i, rank;

		/* For the verifier, which cannot follow the ^. */
		asm volatile("%0 &= 7" : "+r"(way));
		rank = readiness(*(volatile __u64 *)&bucket->way[way].value, now);
		if (rank > best_rank) {
			best_way = way;
			best_rank = rank;
		}
	}
	return CHOICE(best_way, best_rank);
}

/* What is free, in the bucket or the second one; else what gives way most willingly, in the bucket if it can be. */
static __always_inline __u32 choose_place(__u64 hash, __u16 now)
{
	__u32 first = choose_way(bucket_of(hash), half_of(hash), now), second;

	if (RANK_OF(first) == READY_FREE)
		return first;
	second = choose_way(second_bucket_of(hash), half_of(hash), now);
	return RANK_OF(second) == READY_FREE || !RANK_OF(first) ? second | SECOND_BUCKET : first;
}

#define RECORDED 1
#define RECORDED_BY_EVICTION 2

/* Writes the flow where `seen` is. 0: that is no longer there. */
static __always_inline int replace(__u64 key, __u64 value, __u64 seen, __u64 hash, __u32 way, __u32 rank)
{
	__u32 index = way & SECOND_BUCKET ? second_bucket_of(hash) : bucket_of(hash);
	struct ipvsd_bucket *bucket = bpf_map_lookup_elem(&flows, &index);
	__u16 now = value >> STAMP_SHIFT;
	struct ipvsd_flow *entry;
	__u64 former_key;

	if (!bucket)
		return 0;
	if (way & SECOND_BUCKET)
		mark_spilled(bucket_of(hash), now);
	entry = &bucket->way[way & (IPVSD_WAYS - 1)];
	former_key = entry->key;
	if (rank) {
		seen = *(volatile __u64 *)&entry->value;
		if (readiness(seen, now) != rank)
			return 0;
	}
	if (__sync_val_compare_and_swap(&entry->value, seen, value) != seen)
		return 0;
	entry->key = key;
	count_load(server_of(value), state_of(value), 1);
	if (seen)
		count_load(server_of(seen), state_of(seen), -1);
	if (!rank || rank == READY_FREE)
		return RECORDED;
	/* The flow that gave way may go on. */
	mark_overflow(bucket_of(mix(former_key ^ settings.seed)), now);
	return RECORDED_BY_EVICTION;
}

/* In place of `seen` at `way`, or, with NO_WAY, where there is room; another CPU may be faster once. 0: there was no
 * room. */
__noinline int record_flow(__u64 key, __u64 value, __u64 seen, __u32 way)
{
	__u64 hash = mix(key ^ settings.seed);
	__u32 rank = 0;

	for (int attempt = 0; attempt < 2; attempt++) {
		int recorded;

		if (attempt || way >= NO_WAY) {
			__u32 choice = choose_place(hash, value >> STAMP_SHIFT);

			way = WAY_OF(choice);
			rank = RANK_OF(choice);
			if (!rank)
				return 0;
		}
		recorded = replace(key, value, seen, hash, way, rank);
		if (recorded)
			return recorded;
	}
	return 0;
}

/* As record_flow has it where the flow's own half has a free way, as most have: without a call. */
static __always_inline int record_in_half(const struct flow_reference *flow, __u64 value)
{
	struct ipvsd_flow *ways;
	__u32 half = flow->half;

	BOUND_HALF(half);
	ways = &flow->bucket->way[half];
#pragma unroll
	for (int i = 0; i < IPVSD_WAYS / 2; i++) {
		__u64 seen = *(volatile __u64 *)&ways[i].value;

		if (seen && is_expired(seen, flow->now))
			return 0;
		if (seen)
			continue;
		if (__sync_val_compare_and_swap(&ways[i].value, 0, value))
			return 0;
		ways[i].key = flow->key;
		count_load(server_of(value), state_of(value), 1);
		return RECORDED;
	}
	return 0;
}

/* Frees the entry, unless another CPU changed it. */
static __always_inline void forget(struct flow_entry hit)
{
	if (__sync_val_compare_and_swap(&hit.entry->value, hit.value, 0) == hit.value)
		count_load(server_of(hit.value), state_of(hit.value), -1);
}

/* Records the flow in place of `previous`, else of the readiest entry of its two buckets. False: there was no room. */
static __always_inline int record(struct packet *packet, const struct flow_reference *flow, struct flow_entry previous,
				  __u32 server, __u32 state)
{
	__u64 value = with_state(flow->identity | (__u64)server << SERVER_SHIFT, state, flow->now);
	int recorded;

	if (previous.entry && previous.way == NO_WAY)
		forget(previous);
	recorded = previous.value ? 0 : record_in_half(flow, value);
	if (!recorded)
		recorded = record_flow(flow->key, value, previous.value, previous.way);
	if (recorded == RECORDED_BY_EVICTION)
		count(packet, IPVSD_EVENT_FLOW_EVICTED);
	return recorded;
}

static __always_inline int has_overflowed(const struct flow_reference *flow)
{
	struct ipvsd_overflow *overflow = overflows_of(flow->bucket_index);
	__u16 stamp;

	if (!overflow)
		return 0;
	stamp = overflow->stamp[flow->bucket_index & 31];
	return stamp && age_of_stamp(stamp, flow->now) <= settings.timeout[IPVSD_STATE_ESTABLISHED];
}
