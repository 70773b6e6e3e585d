/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The flow table: buckets of one cache line, entries claimed and changed by compare-and-swap on their value. The
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
	struct ipvsd_bucket *bucket;
	__u32 bucket_index;
	__u16 now;
};

/* The hit, or where a new entry went: entry is null where there is none. */
struct flow_entry {
	struct ipvsd_flow *entry;
	__u64 value; /* as it was read */
};

static __always_inline __u64 mix(__u64 x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	return x;
}

/* Jiffies are read without a call; a clock, even the coarse one, takes a call. */
static __always_inline __u16 ticks(void)
{
	return bpf_jiffies64() * constants.jiffy >> IPVSD_TICK_SHIFT;
}

static __always_inline __u32 state_of(__u64 value) { return value >> STATE_SHIFT & 0xf; }
static __always_inline __u32 server_of(__u64 value) { return value >> SERVER_SHIFT & 0xffff; }
static __always_inline __u16 age_of(__u64 value, __u16 now) { return now - (__u16)(value >> STAMP_SHIFT); }

static __always_inline __u64 with_state(__u64 value, __u32 state, __u16 now)
{
	return (value & ~(STATE_MASK | STAMP_MASK)) | (__u64)state << STATE_SHIFT | (__u64)now << STAMP_SHIFT;
}

static __always_inline int is_expired(const struct ipvsd_settings *settings, __u64 value, __u16 now)
{
	return age_of(value, now) > settings->timeout[state_of(value)];
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

static __always_inline void count_load(__u32 server, __u32 state, __s32 difference)
{
	struct ipvsd_load *load = bpf_map_lookup_elem(&loads, &server);

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

static __always_inline int locate(const struct ipvsd_settings *settings, __be32 client, __be16 client_port,
				  __be16 port, __u16 flow_service, struct flow_reference *flow)
{
	__u64 hash;

	flow->key = (__u64)client << 32 | (__u64)client_port << 16 | flow_service;
	hash = mix(flow->key ^ settings->seed);
	flow->identity = (__u64)port << PORT_SHIFT | (hash >> 52 & TAG_MASK);
	flow->bucket_index = hash & (IPVSD_BUCKETS - 1);
	flow->now = ticks();
	flow->bucket = bpf_map_lookup_elem(&flows, &flow->bucket_index);
	return flow->bucket != 0;
}

static __always_inline struct flow_entry find(const struct ipvsd_settings *settings, const struct flow_reference *flow)
{
	struct flow_entry hit = {};

#pragma unroll
	for (int i = 0; i < IPVSD_WAYS; i++) {
		struct ipvsd_flow *entry = &flow->bucket->way[i];
		__u64 value;

		if (*(volatile __u64 *)&entry->key != flow->key)
			continue;
		value = *(volatile __u64 *)&entry->value;
		if (value && (value & IDENTITY_MASK) == flow->identity && !is_expired(settings, value, flow->now)) {
			hit.entry = entry;
			hit.value = value;
			break;
		}
	}
	return hit;
}

/* Refreshes the stamp, and moves the state on: one retry, since another CPU may refresh at the same time. A stamp may
 * lag by 1/32 of the time-out: a compare-and-swap on nearly every packet, as many slow flows would have it, costs more
 * than the rest of the look-up. */
static __always_inline void refresh(const struct ipvsd_settings *settings, const struct flow_reference *flow,
				    struct flow_entry hit, __u32 state)
{
	__u64 value = hit.value;

	if (state == state_of(value) && age_of(value, flow->now) <= settings->timeout[state & 15] >> 5)
		return;
#pragma unroll
	for (int attempt = 0; attempt < 2; attempt++) {
		__u64 seen = __sync_val_compare_and_swap(&hit.entry->value, value,
							 with_state(value, state, flow->now));

		if (seen == value) {
			if (is_active(state_of(value)) != is_active(state)) {
				count_load(server_of(value), state_of(value), -1);
				count_load(server_of(value), state, 1);
			}
			return;
		}
		if (state == state_of(hit.value) || (seen & ~(STAMP_MASK | STATE_MASK)) != (value & ~(STAMP_MASK | STATE_MASK)))
			return; /* only a stamp, or no longer this flow */
		value = seen;
	}
}

static __always_inline __u64 new_value(const struct flow_reference *flow, __u32 server, __u32 state)
{
	return with_state(flow->identity | (__u64)server << SERVER_SHIFT, state, flow->now);
}

#define READY_FREE 5 /* or expired: nobody loses by it */

/* How willingly an entry gives way, 0 for not at all. Entries younger than two ticks stay: the key of a fresh one may
 * not be there yet. Without the last two a spoofed datagram, or SYN and ACK, would hold its entry for minutes. */
static __always_inline __u32 readiness(const struct ipvsd_settings *settings, __u64 value, __u16 now)
{
	if (!value || is_expired(settings, value, now))
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

/* The readiest entry of a bucket; null where none is. */
static __always_inline struct flow_entry readiest(const struct ipvsd_settings *settings,
						  const struct flow_reference *flow, __u32 *rank)
{
	struct flow_entry best = {};

	*rank = 0;
#pragma unroll
	for (int i = 0; i < IPVSD_WAYS; i++) {
		struct ipvsd_flow *entry = &flow->bucket->way[i];
		__u64 seen = *(volatile __u64 *)&entry->value;
		__u32 ready = readiness(settings, seen, flow->now);

		if (ready > *rank) {
			*rank = ready;
			best.entry = entry;
			best.value = seen;
		}
	}
	return best;
}

/* Records the flow in place of `previous`, else of the readiest entry of its bucket; another CPU may have been faster
 * once. False: there was no room. */
static __always_inline int record(struct packet *packet, const struct flow_reference *flow, struct flow_entry previous,
				  __u32 server, __u32 state)
{
	__u64 value = new_value(flow, server, state);

#pragma unroll
	for (int attempt = 0; attempt < 2; attempt++) {
		struct flow_entry place = previous;
		__u32 rank = 0;

		if (attempt || !place.entry)
			place = readiest(packet->settings, flow, &rank);
		if (!place.entry)
			return 0;
		if (__sync_val_compare_and_swap(&place.entry->value, place.value, value) != place.value)
			continue;
		place.entry->key = flow->key;
		count_load(server, state, 1);
		if (place.value)
			count_load(server_of(place.value), state_of(place.value), -1);
		if (rank && rank != READY_FREE)
			count(packet, IPVSD_EVENT_FLOW_EVICTED);
		return 1;
	}
	return 0;
}

/* Frees the entry, unless another CPU changed it. */
static __always_inline void forget(struct flow_entry hit)
{
	if (__sync_val_compare_and_swap(&hit.entry->value, hit.value, 0) == hit.value)
		count_load(server_of(hit.value), state_of(hit.value), -1);
}

/* The bucket had no room: for the longest time-out from now, packets without an entry are rederived. */
static __always_inline void mark_overflow(const struct flow_reference *flow)
{
	__u32 index = flow->bucket_index >> 5;
	struct ipvsd_overflow *overflow = bpf_map_lookup_elem(&overflows, &index);

	if (overflow)
		overflow->stamp[flow->bucket_index & 31] = flow->now ? flow->now : 1;
}

static __always_inline int has_overflowed(const struct ipvsd_settings *settings, const struct flow_reference *flow)
{
	__u32 index = flow->bucket_index >> 5;
	struct ipvsd_overflow *overflow = bpf_map_lookup_elem(&overflows, &index);
	__u16 stamp;

	if (!overflow)
		return 0;
	stamp = overflow->stamp[flow->bucket_index & 31];
	return stamp && (__u16)(flow->now - stamp) <= settings->timeout[IPVSD_STATE_ESTABLISHED];
}
