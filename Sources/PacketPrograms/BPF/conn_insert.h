/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The places of new flows in the table, and the eviction of others. */
#pragma once

#include "flows.h"
#include "trace.h"

static __always_inline __u32 eviction_rank(__u64 value, __u16 now)
{
	if (!value || is_expired(value, now))
		return IPVSD_RANK_FREE;
	return ipvsd_flow_rank(value, now);
}

/* Marks that a flow of the bucket has no entry. For ESTABLISHED's time-out, a packet of the bucket without an entry
 * then goes to the server that stateless_server names. */
static __always_inline void mark_overflow(__u32 bucket_index, __u16 now)
{
	struct ipvsd_overflow *overflow = overflows_of(bucket_index);

	if (overflow)
		WRITE(overflow->stamp[ipvsd_overflow_place(bucket_index)] = ipvsd_stamp_of_now(now));
}

/* A place for a flow is a way and the rank of the way's present entry. Both are in one number, since a call returns
 * them. */
#define PLACE_RANK_SHIFT 8

static __always_inline __u32 place_at(__u32 way, __u32 rank) { return way | rank << PLACE_RANK_SHIFT; }
static __always_inline __u32 way_of(__u32 place) { return place & ((1 << PLACE_RANK_SHIFT) - 1); }
static __always_inline __u32 rank_of(__u32 place) { return place >> PLACE_RANK_SHIFT; }

/* Returns the place in a bucket whose entry gives way first. Of equal entries the first one counts, in the order from
 * the way `half` on. Rank IPVSD_RANK_NEVER: none gives way. The function is global for the reasons of find_in_flows. */
__noinline int choose_way(__u32 index, __u32 half, __u32 now)
{
	struct ipvsd_bucket *bucket = bpf_map_lookup_elem(&flows, &index);
	__u32 best_way = 0, best_rank = 0;

	if (!bucket)
		return 0;
	for (int i = 0; i < IPVSD_WAYS && best_rank != IPVSD_RANK_FREE; i++) {
		__u32 way = half ^ i, rank;

		/* This bound is for the verifier, which does not understand the ^. */
		asm volatile("%0 &= %1" : "+r"(way) : "i"(IPVSD_WAYS - 1));
		rank = eviction_rank(*(volatile __u64 *)&bucket->way[way].value, now);
		if (rank > best_rank) {
			best_way = way;
			best_rank = rank;
		}
	}
	return place_at(best_way, best_rank);
}

/* Returns a free place in the bucket, or else in the second bucket, with SECOND_BUCKET. Without a free place, it is the
 * one whose entry gives way first, in the bucket if possible. */
static __always_inline __u32 choose_place(__u64 hash, __u16 now)
{
	__u32 first = choose_way(bucket_of(hash), ipvsd_flow_half(hash), now), second;

	if (rank_of(first) == IPVSD_RANK_FREE)
		return first;
	second = choose_way(second_bucket_of(hash), ipvsd_flow_half(hash), now);
	return rank_of(second) == IPVSD_RANK_FREE || !rank_of(first) ? second | SECOND_BUCKET : first;
}

enum recorded {
	NOT_RECORDED,
	RECORDED,
	RECORDED_BY_EVICTION,
	RECORDED_WITH_SYN, /* the SYN is counted as unanswered, too */
};

/* Writes the flow over the entry at `way`, unless the entry has changed. With rank 0, the entry must still have the
 * value `seen`. With any other rank, it must still have that rank. */
static __always_inline enum recorded replace(__u64 key, __u64 value, __u64 seen, __u64 hash, __u32 way, __u32 rank)
{
	__u32 index = way & SECOND_BUCKET ? second_bucket_of(hash) : bucket_of(hash);
	struct ipvsd_bucket *bucket = bpf_map_lookup_elem(&flows, &index);
	__u16 now = ipvsd_flow_stamp(value);
	struct ipvsd_flow *entry;
	__u64 evicted;

	if (!bucket)
		return NOT_RECORDED;
	if (way & SECOND_BUCKET)
		mark_spilled(bucket_of(hash), now);
	entry = &bucket->way[way & (IPVSD_WAYS - 1)];
	evicted = entry->key;
	if (rank) {
		seen = *(volatile __u64 *)&entry->value;
		if (eviction_rank(seen, now) != rank)
			return NOT_RECORDED;
	}
	if (COMPARE_AND_SWAP(&entry->value, seen, value) != seen)
		return NOT_RECORDED;
	WRITE(entry->key = key);
	count_conn(ipvsd_flow_server(value), ipvsd_flow_state(value), 1);
	if (seen)
		count_conn(ipvsd_flow_server(seen), ipvsd_flow_state(seen), -1);
	if (!rank || rank == IPVSD_RANK_FREE)
		return RECORDED;
	/* The evicted flow may still send packets, so its bucket is marked. */
	mark_overflow(bucket_of(hash_of(evicted)), now);
	return RECORDED_BY_EVICTION;
}

/* Records the flow over the value `seen` at `way`. With NO_WAY, or where another CPU was faster, it takes the place
 * that choose_place names. Returns an enum recorded. */
__noinline int record_flow(__u64 key, __u64 value, __u64 seen, __u32 way)
{
	__u64 hash = hash_of(key);
	__u32 rank = 0;

	for (int attempt = 0; attempt < 2; attempt++) {
		enum recorded recorded;

		if (attempt || way >= NO_WAY) {
			__u32 place = choose_place(hash, ipvsd_flow_stamp(value));

			way = way_of(place);
			rank = rank_of(place);
			if (!rank)
				return NOT_RECORDED;
		}
		recorded = replace(key, value, seen, hash, way, rank);
		if (recorded)
			return recorded;
	}
	return NOT_RECORDED;
}

/* Does the common case of record_flow without a call: the flow's own half has a free way. `opens`: the packet is a SYN,
 * which is also counted as unanswered, by the same look-up. */
static __always_inline enum recorded record_in_half(const struct flow_reference *flow, __u64 value, bool opens)
{
	struct ipvsd_conn_counts *counts;
	struct ipvsd_flow *ways;
	__u32 half = flow->half;

	BOUND_HALF(half);
	ways = &flow->bucket->way[half];
#pragma unroll
	for (int i = 0; i < IPVSD_WAYS / 2; i++) {
		__u64 seen = *(volatile __u64 *)&ways[i].value;

		if (seen && is_expired(seen, flow->now))
			return NOT_RECORDED;
		if (seen)
			continue;
		if (COMPARE_AND_SWAP(&ways[i].value, 0, value))
			return NOT_RECORDED;
		WRITE(ways[i].key = flow->key);
		counts = count_conn(ipvsd_flow_server(value), ipvsd_flow_state(value), 1);
		if (!opens)
			return RECORDED;
		if (counts)
			WRITE(__sync_fetch_and_add(&counts->unanswered, 1));
		return RECORDED_WITH_SYN;
	}
	return NOT_RECORDED;
}

/* Frees the entry, unless another CPU changed it. */
static __always_inline void forget(struct flow_entry hit)
{
	if (COMPARE_AND_SWAP(&hit.entry->value, hit.value, 0) == hit.value)
		count_conn(ipvsd_flow_server(hit.value), ipvsd_flow_state(hit.value), -1);
}

static __always_inline void trace_recording(enum recorded recorded, struct flow_entry previous)
{
	if (!recorded)
		TRACE(trace.recording = IPVSD_RECORDING_NO_ROOM);
	else if (previous.entry && previous.way != NO_WAY)
		TRACE(trace.recording = IPVSD_RECORDING_RENEWED);
	else if (recorded == RECORDED_BY_EVICTION)
		TRACE(trace.recording = IPVSD_RECORDING_EVICTING);
	else
		TRACE(trace.recording = IPVSD_RECORDING_RECORDED);
}

/* Records the flow over `previous`, or else in a free way of its two buckets, or over the entry there that gives way
 * first. */
static __always_inline enum recorded record(struct packet *packet, const struct flow_reference *flow,
					    struct flow_entry previous, __u32 server, __u32 state, bool opens)
{
	__u64 value = ipvsd_flow_value(flow->identity, server, state, flow->now);
	enum recorded recorded;

	if (previous.entry && previous.way == NO_WAY)
		forget(previous);
	recorded = previous.value ? NOT_RECORDED : record_in_half(flow, value, opens);
	if (!recorded)
		recorded = record_flow(flow->key, value, previous.value, previous.way);
	if (recorded == RECORDED_BY_EVICTION)
		count(packet, IPVSD_EVENT_FLOW_EVICTED);
	TRACE(trace_recording(recorded, previous));
	return recorded;
}

static __always_inline bool has_overflowed(const struct flow_reference *flow)
{
	struct ipvsd_overflow *overflow = overflows_of(flow->bucket_index);
	__u16 stamp;

	if (!overflow)
		return false;
	stamp = overflow->stamp[ipvsd_overflow_place(flow->bucket_index)];
	return stamp && ipvsd_stamp_age(stamp, flow->now) <= settings.timeout[IPVSD_STATE_ESTABLISHED];
}
