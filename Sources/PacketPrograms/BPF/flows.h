/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The flow table: buckets of two cache lines, whose entries are claimed and changed by a compare-and-swap of their
 * value. The complete value is written first, and the key after it. A reader that sees the former key beside the new
 * value is refused by the tag. The winner of a compare-and-swap adjusts the counts of connections. */
#pragma once

#include "constants.h"
#include "maps.h"
#include "packet.h"
#include "trace.h"

struct flow_reference {
	__u64 key;
	__u64 identity; /* destination port and tag, at their places in the value */
	__u64 hash;
	struct ipvsd_bucket *bucket;
	__u32 bucket_index;
	__u32 half; /* the first way of the half to try first */
	__u16 now;
};

/* The result of a look-up. `entry` is null where nothing was found. */
struct flow_entry {
	struct ipvsd_flow *entry;
	__u64 value; /* as it was read */
	__u32 way;   /* in the flow's bucket; in its second bucket, with SECOND_BUCKET; or NO_WAY */
};

#define SECOND_BUCKET IPVSD_WAYS
#define NO_WAY (2 * IPVSD_WAYS) /* also of an entry in the old table, or with its former key */
#define NO_ENTRY ((struct flow_entry){ .way = NO_WAY })

static __always_inline bool is_younger(__u64 value, __u16 now, __u32 age)
{
	return (__u16)(now - ipvsd_flow_stamp(value) + IPVSD_STAMP_AHEAD) <= age + IPVSD_STAMP_AHEAD;
}

static __always_inline __u16 age_of(__u64 value, __u16 now) { return ipvsd_stamp_age(ipvsd_flow_stamp(value), now); }

static __always_inline bool is_expired(__u64 value, __u16 now)
{
	return age_of(value, now) > settings.timeout[ipvsd_flow_state(value)];
}

static __always_inline void count_half_open(__u32 state, __s32 difference)
{
	if (state == IPVSD_STATE_SYN_RECV)
		WRITE(__sync_fetch_and_add(&table_load.half_open, difference));
}

static __always_inline struct ipvsd_conn_counts *count_conn(__u32 server, __u32 state, __s32 difference)
{
	struct ipvsd_conn_counts *counts = bpf_map_lookup_elem(&conn_counts, &server);

	count_half_open(state, difference);
	if (!counts)
		return NULL;
	if (ipvsd_state_is_active(state))
		WRITE(__sync_fetch_and_add(&counts->active, difference));
	else
		WRITE(__sync_fetch_and_add(&counts->inactive, difference));
	return counts;
}

/* Returns the state after a packet, by IPVS's input-only tcp_states (ip_vs_proto_tcp.c). As there, the first of rst,
 * syn, fin and ack counts. `needs_data`: a bare ACK stays one until a packet has data or a FIN. */
static __always_inline __u32 next_state(__u32 state, const struct tcphdr *tcp, bool carries_data, bool needs_data)
{
	if (tcp->rst)
		return state == IPVSD_STATE_SYN_RECV ? IPVSD_STATE_SYN_RECV : IPVSD_STATE_CLOSE;
	if (state == IPVSD_STATE_BARE_ACK && (carries_data || tcp->fin || !needs_data))
		state = IPVSD_STATE_ESTABLISHED;
	if (tcp->syn)
		return state == IPVSD_STATE_ESTABLISHED || state == IPVSD_STATE_BARE_ACK ? state : IPVSD_STATE_SYN_RECV;
	if (tcp->fin) {
		switch (state) {
		case IPVSD_STATE_ESTABLISHED:
		case IPVSD_STATE_FIN_WAIT:
			return IPVSD_STATE_FIN_WAIT;
		case IPVSD_STATE_SYN_RECV:
		case IPVSD_STATE_TIME_WAIT:
			return IPVSD_STATE_TIME_WAIT;
		}
		return IPVSD_STATE_CLOSE;
	}
	if (!tcp->ack)
		return IPVSD_STATE_CLOSE;
	if (state == IPVSD_STATE_NONE || state == IPVSD_STATE_SYN_RECV)
		return carries_data ? IPVSD_STATE_ESTABLISHED : IPVSD_STATE_BARE_ACK;
	return state;
}

/* Whether the packet proves that a recorded connection's client goes on. It carries data, and does not open a
 * connection. */
static __always_inline bool proves_client(const struct tcphdr *tcp, bool carries_data)
{
	return carries_data && tcp->ack && !tcp->syn && !tcp->rst;
}

static __always_inline __u64 hash_of(__u64 key) { return ipvsd_flow_hash(key, settings.seed); }
static __always_inline __u32 bucket_of(__u64 hash) { return ipvsd_flow_bucket(hash, constants.bucket_mask); }
static __always_inline __u32 second_bucket_of(__u64 hash)
{
	return ipvsd_flow_second_bucket(hash, constants.bucket_mask);
}

static __always_inline bool locate(__be32 client, __be16 client_port, __be16 port,
				   const struct ipvsd_listener_value *listener, struct flow_reference *flow)
{
	__u32 index; /* not flow->bucket_index: a structure whose address goes to a call is kept in memory */

	flow->key = ipvsd_flow_key(client, client_port, listener->destination);
	flow->hash = hash_of(flow->key);
	flow->identity = ipvsd_flow_identity(port, flow->hash);
	index = flow->bucket_index = bucket_of(flow->hash);
	flow->half = ipvsd_flow_half(flow->hash);
	flow->now = ticks();
	flow->bucket = bpf_map_lookup_elem(&flows, &index);
	return flow->bucket != NULL;
}

/* This bound is for the verifier. The compiler knows it, and would leave it out. */
#define BOUND_HALF(half) asm volatile("%0 &= %1" : "+r"(half) : "i"(IPVSD_HALF))

/* Returns the way of the half that holds the flow, and stores the entry's value in `found`. Returns NO_WAY where none
 * does. `half` is the first way of the half. */
static __always_inline __u32 find_in_half(__u64 key, __u64 identity, __u16 now, struct ipvsd_bucket *bucket, __u32 half,
					  __u64 *found)
{
	struct ipvsd_flow *ways;

	BOUND_HALF(half);
	ways = &bucket->way[half];
#pragma unroll
	for (int i = 0; i < IPVSD_WAYS / 2; i++) {
		__u64 value;

		if (*(volatile __u64 *)&ways[i].key != key)
			continue;
		value = *(volatile __u64 *)&ways[i].value;
		if (value && (value & IPVSD_FLOW_IDENTITY_MASK) == identity && !is_expired(value, now)) {
			*found = value;
			return half + i;
		}
	}
	return NO_WAY;
}

static __always_inline __u32 find_in_bucket(__u64 key, __u64 identity, __u16 now, struct ipvsd_bucket *bucket,
					    __u32 half, __u64 *found)
{
	__u32 way = find_in_half(key, identity, now, bucket, half, found);

	return way != NO_WAY ? way : find_in_half(key, identity, now, bucket, half ^ IPVSD_HALF, found);
}

/* The next functions are the rare look-ups: of a flow outside its first bucket, and of a flow while flows are moved. As
 * global functions they are verified once, and not for every call, and each result is one state of the verifier. Their
 * arguments are scalars, since the stack of a call adds to its caller's. */

/* Returns the way of the bucket `index` that holds the flow, or NO_WAY. */
__noinline int find_in_flows(__u64 key, __u64 identity, __u32 index)
{
	struct ipvsd_bucket *bucket = bpf_map_lookup_elem(&flows, &index);
	__u64 value;

	return bucket ? find_in_bucket(key, identity, ticks(), bucket, ipvsd_flow_half(hash_of(key)), &value) : NO_WAY;
}

#define PLACE_WAY_SHIFT 3
#define NO_PLACE (-1)

static __always_inline int place_of(__u32 index, __u32 way)
{
	return way < IPVSD_WAYS ? (int)(index << PLACE_WAY_SHIFT | way) : NO_PLACE;
}

/* Looks for a flow by its former key, while the layout changes. Returns bucket and way in one number (place_of), or
 * NO_PLACE. */
__noinline int find_by_former_key(__u64 key, __u64 identity)
{
	__u64 hash = hash_of(key);
	__u32 index = bucket_of(hash), way = find_in_flows(key, identity, index);

	if (way < IPVSD_WAYS)
		return place_of(index, way);
	index = second_bucket_of(hash);
	return place_of(index, find_in_flows(key, identity, index));
}

static __always_inline __u32 way_in_old(__u64 key, __u64 identity, __u32 index)
{
	struct ipvsd_bucket *bucket = bpf_map_lookup_elem(&old_flows, &index);
	__u64 value;

	return bucket ? find_in_bucket(key, identity, ticks(), bucket, ipvsd_flow_half(hash_of(key)), &value) : NO_WAY;
}

/* Looks for a flow in the old table, while the table grows. Returns bucket and way in one number (place_of), or
 * NO_PLACE. */
__noinline int find_in_old(__u64 key, __u64 identity)
{
	__u64 hash = hash_of(key);
	__u32 index = ipvsd_flow_bucket(hash, constants.old_bucket_mask), way = way_in_old(key, identity, index);

	if (way < IPVSD_WAYS)
		return place_of(index, way);
	index = ipvsd_flow_second_bucket(hash, constants.old_bucket_mask);
	return place_of(index, way_in_old(key, identity, index));
}

/* Returns the entry at the way that one of these functions found. Returns NO_ENTRY where the flow has just been moved
 * or evicted. `place` is what the result has as its way. */
static __always_inline struct flow_entry entry_at(struct ipvsd_bucket *bucket, __u32 way, __u64 identity, __u32 place)
{
	struct flow_entry hit = NO_ENTRY;
	__u64 value;

	if (way >= IPVSD_WAYS || !bucket)
		return hit;
	/* For verifiers before 6.7, which forget a checked bound of a number that the compiler keeps on the stack. */
	asm volatile("%0 &= %1" : "+r"(way) : "i"(IPVSD_WAYS - 1));
	TRACE(trace.flow_way = way);
	value = *(volatile __u64 *)&bucket->way[way].value;
	if (value && (value & IPVSD_FLOW_IDENTITY_MASK) == identity) {
		hit.entry = &bucket->way[way];
		hit.value = value;
		hit.way = place;
	}
	return hit;
}

/* Looks for a flow that the daemon has not moved yet. Only this function reads the listener's former number. To keep
 * the number in struct flow_reference would cost ordinary packets time. */
static __always_inline struct flow_entry find_unmoved(const struct flow_reference *flow,
						      const struct ipvsd_listener_value *listener)
{
	__u64 key, identity = flow->identity;
	__u32 index;
	int place;

	if (!constants.is_rekeying) {
		place = find_in_old(flow->key, identity);
		index = (__u32)place >> PLACE_WAY_SHIFT;
		return entry_at(place < 0 ? NULL : bpf_map_lookup_elem(&old_flows, &index), place & (IPVSD_WAYS - 1),
				identity, NO_WAY);
	}
	if (!listener->former)
		return NO_ENTRY;
	key = ipvsd_flow_key_with(flow->key, listener->former);
	identity = ipvsd_flow_identity(identity >> IPVSD_FLOW_PORT_SHIFT, hash_of(key));
	place = find_by_former_key(key, identity);
	index = (__u32)place >> PLACE_WAY_SHIFT;
	return entry_at(place < 0 ? NULL : bpf_map_lookup_elem(&flows, &index), place & (IPVSD_WAYS - 1), identity,
			NO_WAY);
}

static __always_inline struct ipvsd_overflow *overflows_of(__u32 bucket_index)
{
	__u32 index = ipvsd_overflow_row(bucket_index);

	return bpf_map_lookup_elem(&overflows, &index);
}

/* Whether a flow of the bucket may be in its second bucket. The sweep clears the mark when no such flow can still
 * exist. */
static __always_inline bool has_spilled(__u32 bucket_index)
{
	struct ipvsd_overflow *overflow = overflows_of(bucket_index);

	return overflow && overflow->spilled[ipvsd_overflow_place(bucket_index)];
}

/* Marks that a flow of the bucket is in its second bucket. Callers set the mark before they stamp the flow, so that it
 * is never older than the flow. */
static __always_inline void mark_spilled(__u32 bucket_index, __u16 now)
{
	struct ipvsd_overflow *overflow = overflows_of(bucket_index);

	if (overflow)
		WRITE(overflow->spilled[ipvsd_overflow_place(bucket_index)] = ipvsd_stamp_of_now(now));
}

static __always_inline struct flow_entry find(const struct flow_reference *flow,
					      const struct ipvsd_listener_value *listener)
{
	struct flow_entry hit = NO_ENTRY;
	__u64 value = 0;
	__u32 way, index;

	/* The order of the look-ups is that of the move, so that one of the two finds the flow. */
	if (settings.is_migrating) {
		hit = find_unmoved(flow, listener);
		if (hit.entry)
			return hit;
	}
	way = find_in_bucket(flow->key, flow->identity, flow->now, flow->bucket, flow->half, &value);
	if (way != NO_WAY) {
		hit.entry = &flow->bucket->way[way];
		hit.value = value;
		hit.way = way;
		return hit;
	}
	if (!has_spilled(flow->bucket_index))
		return hit;
	index = second_bucket_of(flow->hash);
	way = find_in_flows(flow->key, flow->identity, index);
	return entry_at(bpf_map_lookup_elem(&flows, &index), way, flow->identity, way | SECOND_BUCKET);
}

/* Traces a flow that was found. `way` is 0 to 7, in the bucket that `place` names. */
static __always_inline void trace_flow(const struct flow_reference *flow, __u64 value, __u32 way,
				       enum ipvsd_flow_place place)
{
	TRACE(trace.flow_value = value);
	TRACE(trace.flow_way = way);
	TRACE(trace.flow_place = place);
	TRACE(trace.is_in_own_half = (way & IPVSD_HALF) == flow->half);
	TRACE(trace.flow_bucket =
		      place == IPVSD_PLACE_SECOND_BUCKET ? second_bucket_of(flow->hash) : flow->bucket_index);
}

/* Traces the result of find(). */
static __always_inline void trace_hit(const struct flow_reference *flow, struct flow_entry hit)
{
	if (!hit.entry)
		return;
	if (hit.way == NO_WAY)
		TRACE(trace_flow(flow, hit.value, trace.flow_way, IPVSD_PLACE_OLD_TABLE));
	else
		trace_flow(flow, hit.value, hit.way & (IPVSD_WAYS - 1),
			   hit.way & SECOND_BUCKET ? IPVSD_PLACE_SECOND_BUCKET : IPVSD_PLACE_FIRST_BUCKET);
}

#define LAG_SHIFT 5

/* Whether a stamp need not be refreshed. It may lag by 1/32 of the time-out, and at most by `longest_lag` ticks. A
 * compare-and-swap on nearly every packet, as with many slow flows, would cost more than the rest of the look-up. */
static __always_inline bool is_fresh(__u64 value, __u16 now, __u32 longest_lag)
{
	__u32 lag = settings.timeout[ipvsd_flow_state(value)] >> LAG_SHIFT;

	return age_of(value, now) <= (lag < longest_lag ? lag : longest_lag);
}

/* Refreshes the stamp and the state, with one retry, since another CPU may refresh at the same time. Returns whether
 * the entry was refreshed. */
static __always_inline bool refresh(const struct flow_reference *flow, struct flow_entry hit, __u32 state,
				    __u32 longest_lag)
{
	__u64 value = hit.value;

	if (state == ipvsd_flow_state(value) && is_fresh(value, flow->now, longest_lag))
		return false;
	if (hit.way & SECOND_BUCKET)
		mark_spilled(flow->bucket_index, flow->now);
#pragma unroll
	for (int attempt = 0; attempt < 2; attempt++) {
		__u64 seen = COMPARE_AND_SWAP(&hit.entry->value, value, ipvsd_flow_with_state(value, state, flow->now));

		if (seen == value) {
			if (ipvsd_state_is_active(ipvsd_flow_state(value)) != ipvsd_state_is_active(state)) {
				count_conn(ipvsd_flow_server(value), ipvsd_flow_state(value), -1);
				count_conn(ipvsd_flow_server(value), state, 1);
			} else if (ipvsd_flow_state(value) != state) {
				count_half_open(ipvsd_flow_state(value), -1);
				count_half_open(state, 1);
			}
			return true;
		}
		if (state == ipvsd_flow_state(hit.value) ||
		    (seen & ~(IPVSD_FLOW_STAMP_MASK | IPVSD_FLOW_STATE_MASK)) !=
			    (value & ~(IPVSD_FLOW_STAMP_MASK | IPVSD_FLOW_STATE_MASK)))
			return false; /* only the stamp was old, or the entry is another flow's */
		value = seen;
	}
	return false;
}
