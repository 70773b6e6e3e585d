/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The flow table: buckets of two cache lines, entries claimed and changed by compare-and-swap on their value. The
 * value is written first, complete, and the key after it; a reader that sees the old key beside the new value is
 * turned away by the tag. Whoever wins a compare-and-swap adjusts the counts of connections. */
#pragma once

#include "answer.h"
#include "maps.h"
#include "packet.h"

#define STAMP_SHIFT 48
#define PORT_SHIFT 32
#define SERVER_SHIFT 16
#define STATE_SHIFT 12
#define TAG_MASK 0xfffull
#define STAMP_MASK (0xffffull << STAMP_SHIFT)
#define STATE_MASK (0xfull << STATE_SHIFT)
/* What has to be equal for a hit, besides the key. */
#define IDENTITY_MASK (0xffffull << PORT_SHIFT | TAG_MASK)

struct flow_reference {
	__u64 key;
	__u64 identity; /* destination port and tag, at their places in the value */
	__u64 hash;
	struct ipvsd_bucket *bucket;
	__u32 bucket_index;
	__u32 half; /* 0 or 4: the first way of the half to try first */
	__u16 now;
};

/* A hit: entry is null where there is none. */
struct flow_entry {
	struct ipvsd_flow *entry;
	__u64 value; /* as it was read */
	__u32 way;   /* of the flow's bucket, with SECOND_BUCKET of its second one, or NO_WAY */
};

#define SECOND_BUCKET 8
#define NO_WAY 16 /* also for one in the former table */
#define NO_ENTRY ((struct flow_entry){ .way = NO_WAY })

static __always_inline __u64 mix(__u64 x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	return x;
}

/* Jiffies are read without a call; a clock, even the coarse one, takes a call. Flow stamps are the lower 16 bits. */
static __always_inline __u32 ticks(void)
{
	return bpf_jiffies64() * constants.jiffy >> IPVSD_TICK_SHIFT;
}

static __always_inline __u32 state_of(__u64 value) { return value >> STATE_SHIFT & 0xf; }
static __always_inline __u32 server_of(__u64 value) { return value >> SERVER_SHIFT & 0xffff; }

/* Another CPU's stamp may be ahead of a `now` that was read before. */
#define AHEAD 16

static __always_inline int is_younger(__u64 value, __u16 now, __u32 age)
{
	return (__u16)(now - (__u16)(value >> STAMP_SHIFT) + AHEAD) <= age + AHEAD;
}

static __always_inline __u16 age_of_stamp(__u16 stamp, __u16 now)
{
	__u16 age = now - stamp;

	return age > 0xffff - AHEAD ? 0 : age;
}

static __always_inline __u16 age_of(__u64 value, __u16 now)
{
	return age_of_stamp(value >> STAMP_SHIFT, now);
}

static __always_inline __u64 with_state(__u64 value, __u32 state, __u16 now)
{
	return (value & ~(STATE_MASK | STAMP_MASK)) | (__u64)state << STATE_SHIFT | (__u64)now << STAMP_SHIFT;
}

static __always_inline int is_expired(__u64 value, __u16 now)
{
	return age_of(value, now) > settings.timeout[state_of(value)];
}

/* IPVS's tcp_state_active_table. */
static __always_inline int is_active(__u32 state)
{
	return state == IPVSD_STATE_SYN_RECV || state == IPVSD_STATE_ESTABLISHED || state == IPVSD_STATE_BARE_ACK;
}

static __always_inline int is_closing(__u32 state)
{
	return state == IPVSD_STATE_FIN_WAIT || state == IPVSD_STATE_TIME_WAIT || state == IPVSD_STATE_CLOSE;
}

static __always_inline void count_half_open(__u32 state, __s32 difference)
{
	if (state == IPVSD_STATE_SYN_RECV)
		__sync_fetch_and_add(&pressure.half_open, difference);
}

static __always_inline void count_load(__u32 server, __u32 state, __s32 difference)
{
	struct ipvsd_load *load = bpf_map_lookup_elem(&loads, &server);

	count_half_open(state, difference);
	if (!load)
		return;
	if (is_active(state))
		__sync_fetch_and_add(&load->active, difference);
	else
		__sync_fetch_and_add(&load->inactive, difference);
}

/* IPVS's input-only tcp_states (ip_vs_proto_tcp.c), by the flags in its order of precedence: rst, syn, fin, ack. */
static __always_inline __u32 next_state(__u32 state, const struct tcphdr *tcp, int carries_data)
{
	if (tcp->rst)
		return state == IPVSD_STATE_SYN_RECV ? IPVSD_STATE_SYN_RECV : IPVSD_STATE_CLOSE;
	if (state == IPVSD_STATE_BARE_ACK)
		state = IPVSD_STATE_ESTABLISHED;
	if (tcp->syn)
		return state == IPVSD_STATE_ESTABLISHED ? IPVSD_STATE_ESTABLISHED : IPVSD_STATE_SYN_RECV;
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

/* Where a flow belongs: of the hash's lower bits its bucket, of those above the second one, of bit 51 the half. */
static __always_inline __u32 bucket_of(__u64 hash) { return hash & constants.bucket_mask; }
static __always_inline __u32 second_bucket_of(__u64 hash) { return hash >> 25 & constants.bucket_mask; }
static __always_inline __u32 half_of(__u64 hash) { return hash >> 49 & 4; }

static __always_inline int locate(__be32 client, __be16 client_port, __be16 port, __u16 flow_service,
				  struct flow_reference *flow)
{
	__u32 index; /* not in the structure: what a call is given by address is kept in memory, all of it */

	flow->key = (__u64)client << 32 | (__u64)client_port << 16 | flow_service;
	flow->hash = mix(flow->key ^ settings.seed);
	flow->identity = (__u64)port << PORT_SHIFT | (flow->hash >> 52 & TAG_MASK);
	index = flow->bucket_index = bucket_of(flow->hash);
	flow->half = half_of(flow->hash);
	flow->now = ticks();
	flow->bucket = bpf_map_lookup_elem(&flows, &index);
	return flow->bucket != 0;
}

/* For the verifier: the compiler knows, and would leave it out. */
#define BOUND_HALF(half) asm volatile("%0 &= 4" : "+r"(half))

/* The way that holds the flow, from `half` on; NO_WAY where none does. */
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
		if (value && (value & IDENTITY_MASK) == identity && !is_expired(value, now)) {
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

	return way != NO_WAY ? way : find_in_half(key, identity, now, bucket, half ^ 4, found);
}

/* What is rarely needed: the way of a flow in its second bucket, or, while the table grows, in the former table, where
 * the daemon has not moved it yet. Global functions are verified once, not once for every call; whatever comes out of
 * them is one state and not many. Scalars alone go in: the stack of a call comes on top of its caller's. */
__noinline int find_second(__u64 key, __u64 identity)
{
	__u64 hash = mix(key ^ settings.seed), value;
	__u32 index = second_bucket_of(hash);
	struct ipvsd_bucket *bucket = bpf_map_lookup_elem(&flows, &index);

	return bucket ? find_in_bucket(key, identity, ticks(), bucket, half_of(hash), &value) : NO_WAY;
}

__noinline int find_former(__u64 key, __u64 identity, __u32 index)
{
	struct ipvsd_bucket *bucket = bpf_map_lookup_elem(&former, &index);
	__u64 value;

	return bucket ? find_in_bucket(key, identity, ticks(), bucket, half_of(mix(key ^ settings.seed)), &value)
		      : NO_WAY;
}

/* The entry at a way that one of these two found, unless it has just been moved or given away. */
static __always_inline struct flow_entry entry_at(struct ipvsd_bucket *bucket, __u32 way, __u64 identity, __u32 place)
{
	struct flow_entry hit = NO_ENTRY;
	__u64 value;

	if (way >= IPVSD_WAYS || !bucket)
		return hit;
	/* For the verifier: before 6.7 it forgets what was checked of a number that the compiler keeps on the stack. */
	asm volatile("%0 &= 7" : "+r"(way));
	value = *(volatile __u64 *)&bucket->way[way].value;
	if (value && (value & IDENTITY_MASK) == identity) {
		hit.entry = &bucket->way[way];
		hit.value = value;
		hit.way = place;
	}
	return hit;
}

static __always_inline struct flow_entry find_moving(const struct flow_reference *flow)
{
	__u32 index = flow->hash & constants.former_mask, way = find_former(flow->key, flow->identity, index);
	struct flow_entry hit = entry_at(bpf_map_lookup_elem(&former, &index), way, flow->identity, NO_WAY);

	if (hit.entry)
		return hit;
	index = flow->hash >> 25 & constants.former_mask;
	way = find_former(flow->key, flow->identity, index);
	return entry_at(bpf_map_lookup_elem(&former, &index), way, flow->identity, NO_WAY);
}

static __always_inline struct ipvsd_overflow *overflows_of(__u32 bucket_index)
{
	__u32 index = bucket_index >> 5;

	return bpf_map_lookup_elem(&overflows, &index);
}

/* Nonzero until the sweep finds that nothing of it can be alive. */
static __always_inline int has_spilled(__u32 bucket_index)
{
	struct ipvsd_overflow *overflow = overflows_of(bucket_index);

	return overflow && overflow->spilled[bucket_index & 31];
}

/* Before a stamp is set in a bucket's second one: the mark is never older than what it stands for. */
static __always_inline void mark_spilled(__u32 bucket_index, __u16 now)
{
	struct ipvsd_overflow *overflow = overflows_of(bucket_index);

	if (overflow)
		overflow->spilled[bucket_index & 31] = now ? now : 1;
}

static __always_inline struct flow_entry find(const struct flow_reference *flow)
{
	struct flow_entry hit = NO_ENTRY;
	__u64 value = 0;
	__u32 way, index;

	/* In the order in which they are moved, so that one of the two has it. */
	if (settings.is_moving) {
		hit = find_moving(flow);
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
	way = find_second(flow->key, flow->identity);
	return entry_at(bpf_map_lookup_elem(&flows, &index), way, flow->identity, way | SECOND_BUCKET);
}

#define LAG_SHIFT 5

/* A stamp may lag by 1/32 of the time-out: a compare-and-swap on nearly every packet, as many slow flows would have it,
 * costs more than the rest of the look-up. */
static __always_inline int is_fresh(__u64 value, __u16 now, __u32 longest_lag)
{
	__u32 lag = settings.timeout[state_of(value)] >> LAG_SHIFT;

	return age_of(value, now) <= (lag < longest_lag ? lag : longest_lag);
}

/* Refreshes the stamp, and moves the state on: one retry, since another CPU may refresh at the same time. True
 * where it was refreshed. */
static __always_inline int refresh(const struct flow_reference *flow,
				   struct flow_entry hit, __u32 state, __u32 longest_lag)
{
	__u64 value = hit.value;

	if (state == state_of(value) && is_fresh(value, flow->now, longest_lag))
		return 0;
	if (hit.way & SECOND_BUCKET)
		mark_spilled(flow->bucket_index, flow->now);
#pragma unroll
	for (int attempt = 0; attempt < 2; attempt++) {
		__u64 seen = __sync_val_compare_and_swap(&hit.entry->value, value,
							 with_state(value, state, flow->now));

		if (seen == value) {
			if (is_active(state_of(value)) != is_active(state)) {
				count_load(server_of(value), state_of(value), -1);
				count_load(server_of(value), state, 1);
			} else if (state_of(value) != state) {
				count_half_open(state_of(value), -1);
				count_half_open(state, 1);
			}
			return 1;
		}
		if (state == state_of(hit.value) || (seen & ~(STAMP_MASK | STATE_MASK)) != (value & ~(STAMP_MASK | STATE_MASK)))
			return 0; /* only a stamp, or no longer this flow */
		value = seen;
	}
	return 0;
}
