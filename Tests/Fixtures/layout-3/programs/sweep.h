/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The sweep frees what expired, and forgets overflows that are too long ago. The daemon runs it. Where none does,
 * connections would count for ever, against thresholds and as half-open: then packets of new flows do it. */
#pragma once

#include "flows.h"
#include "tables.h"

struct sweep_context {
	__u32 first;
	__u16 now;
	__u16 longest; /* of the time-outs */
};

/* A handshake that a dead server left open will not complete; a retransmitted SYN is scheduled anew. Until it expired
 * it would count as active, and keep new flows from the server when it is back. */
static __always_inline int is_abandoned(__u64 value, __u16 now)
{
	return state_of(value) == IPVSD_STATE_SYN_RECV && age_of(value, now) >= IPVSD_ABANDONED_TICKS &&
	       server_has(server_of(value), IPVSD_SERVER_DOWN);
}

/* The sweep goes on where its last run stopped: a whole pass in one run would keep the CPU from its packets. */
static __u32 sweep_position;

/* Two marks at a time, unless another CPU has set one of them anew: what that one stands for would not be found. */
static __always_inline void forget_marks(__u32 *marks, __u16 now, __u32 longest)
{
	for (int i = 0; i < 16; i++) {
		__u32 seen = *(volatile __u32 *)&marks[i], kept = seen;

		if (age_of_stamp(seen, now) > longest)
			kept &= 0xffff0000;
		if (age_of_stamp(seen >> 16, now) > longest)
			kept &= 0xffff;
		if (kept != seen)
			__sync_val_compare_and_swap(&marks[i], seen, kept);
	}
}

static __always_inline void forget_overflow(__u32 index, const struct sweep_context *context)
{
	struct ipvsd_overflow *overflow = bpf_map_lookup_elem(&overflows, &index);

	if (!overflow)
		return;
	forget_marks((__u32 *)overflow->stamp, context->now, settings.timeout[IPVSD_STATE_ESTABLISHED]);
	forget_marks((__u32 *)overflow->spilled, context->now, context->longest);
}

static __always_inline __u16 longest_timeout(void)
{
	__u16 longest = 0;

	for (int i = 0; i < IPVSD_STATE_MAX; i++)
		if (settings.timeout[i] > longest)
			longest = settings.timeout[i];
	return longest;
}

static long sweep_bucket(void *map, const __u32 *turn, void *value, struct sweep_context *context)
{
	__u32 index = context->first + *turn;
	struct ipvsd_bucket *bucket = bpf_map_lookup_elem(&flows, &index);

	if (!bucket)
		return 1;
	if (!(index & 31))
		forget_overflow(index >> 5, context);
#pragma unroll
	for (int i = 0; i < IPVSD_WAYS; i++) {
		struct ipvsd_flow *entry = &bucket->way[i];
		__u64 value = *(volatile __u64 *)&entry->value;

		if (value && (is_expired(value, context->now) || is_abandoned(value, context->now)) &&
		    __sync_val_compare_and_swap(&entry->value, value, 0) == value)
			count_load(server_of(value), state_of(value), -1);
	}
	return 0;
}

static __always_inline void sweep_some(void)
{
	struct sweep_context context = { .first = sweep_position, .now = ticks(), .longest = longest_timeout() };

	bpf_for_each_map_elem(&turns, sweep_bucket, &context, 0);
	sweep_position = (context.first + IPVSD_SWEEP_BUCKETS) & constants.bucket_mask;
}

/* Global: see find_second. */
__noinline int sweep_step(void)
{
	for (int i = 0; i < 4; i++)
		sweep_some();
	return 0;
}

static __always_inline int is_unattended(__u32 now)
{
	return pressure.swept && (__s32)(now - pressure.swept) >= IPVSD_ABSENT_TICKS;
}

/* Nobody follows the interface's MAC, or hears of macvlans on it, where no daemon runs. */
static __always_inline int may_have_become_ours(const struct ethhdr *ethernet)
{
	return !(ethernet->h_dest[0] & 1) && is_unattended(ticks());
}

static __always_inline void sweep_in_absence(void)
{
	__u32 now = ticks(), last = pressure.stepped;

	if (last == now || !is_unattended(now))
		return;
	if (__sync_val_compare_and_swap(&pressure.stepped, last, now) == last)
		sweep_step();
}
