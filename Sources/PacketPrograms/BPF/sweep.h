/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The sweep frees expired and abandoned flows, and clears old overflow marks. The daemon runs the sweep. Without a
 * daemon, expired connections would count for ever, against thresholds and as half-open. Packets of new flows then run
 * it. */
#pragma once

#include "flows.h"
#include "tables.h"
#include "thresholds.h"
#include "trace.h"

struct sweep_context {
	__u32 first;
	__u16 now;
	__u16 longest; /* of the time-outs */
};

/* Whether the flow is an idle half-open connection to a server that is down. The connection does not complete, and a
 * retransmitted SYN is scheduled anew. Until its expiry the connection would count as active, and keep new flows from
 * the returning server. */
static __always_inline bool is_abandoned(__u64 value, __u16 now)
{
	return ipvsd_flow_state(value) == IPVSD_STATE_SYN_RECV && age_of(value, now) >= IPVSD_ABANDONED_TICKS &&
	       server_has(ipvsd_flow_server(value), IPVSD_SERVER_DOWN);
}

/* Clears the marks that are older than `longest` ticks, two at a time, unless another CPU has just set one of the two.
 * Without its mark, that CPU's flow would not be found. */
static __always_inline void forget_marks(__u32 *marks, __u16 now, __u32 longest)
{
	for (int i = 0; i < IPVSD_OVERFLOW_BUCKETS / 2; i++) {
		__u32 seen = *(volatile __u32 *)&marks[i], kept = seen;

		if (ipvsd_stamp_age(seen, now) > longest)
			kept &= 0xffff0000;
		if (ipvsd_stamp_age(seen >> 16, now) > longest)
			kept &= 0xffff;
		if (kept != seen)
			WRITE(__sync_val_compare_and_swap(&marks[i], seen, kept));
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
	if (!ipvsd_overflow_place(index))
		forget_overflow(ipvsd_overflow_row(index), context);
#pragma unroll
	for (int i = 0; i < IPVSD_WAYS; i++) {
		struct ipvsd_flow *entry = &bucket->way[i];
		__u64 value = *(volatile __u64 *)&entry->value;

		if (value && (is_expired(value, context->now) || is_abandoned(value, context->now)) &&
		    COMPARE_AND_SWAP(&entry->value, value, 0) == value)
			count_conn(ipvsd_flow_server(value), ipvsd_flow_state(value), -1);
	}
	return 0;
}

/* Does one run of the sweep, over IPVSD_SWEEP_BUCKETS buckets. A whole pass would keep the CPU from all other tasks. */
static __always_inline void sweep_from(__u32 first)
{
	struct sweep_context context = { .first = first, .now = ticks(), .longest = longest_timeout() };

	bpf_for_each_map_elem(&loop_iterations, sweep_bucket, &context, 0);
}

#define RUNS_OF_A_STEP 4

/* The bucket at which the next step of the sweep by packets begins. */
static __u32 step_position;

/* Does some runs of the sweep, for a packet. A global function, for the reasons of find_in_flows. */
__noinline int sweep_step(void)
{
	for (int i = 0; i < RUNS_OF_A_STEP; i++) {
		__u32 first = step_position;

		sweep_from(first);
		step_position = (first + IPVSD_SWEEP_BUCKETS) & constants.bucket_mask;
	}
	return 0;
}

static __always_inline bool daemon_absent(__u32 now)
{
	return table_load.last_daemon_gc && (__s32)(now - table_load.last_daemon_gc) >= IPVSD_ABSENT_TICKS;
}

static __always_inline void gc_without_daemon(void)
{
	__u32 now = ticks(), last = table_load.last_inline_gc;

	/* The explaining program does not write, so that its sweep would free nothing. */
	if (EXPLAINS || last == now || !daemon_absent(now))
		return;
	if (COMPARE_AND_SWAP(&table_load.last_inline_gc, last, now) == last)
		sweep_step();
}
