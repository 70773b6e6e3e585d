/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The tables of the schedulers, which are slices of the slots, and the walks through them. */
#pragma once

#include "maps.h"
#include "packet.h"
#include "thresholds.h"
#include "trace.h"

struct slice {
	__u32 first;
	__u32 size;
	__u32 scheduler;
	__u32 by_port;    /* IPVSD_SCHEDULER_BY_PORT or 0 */
	__u32 falls_back; /* IPVSD_SCHEDULER_FALLBACK or 0 */
};

static __always_inline struct slice slice_of(__u64 word)
{
	return (struct slice){
		.first = ipvsd_slice_first(word),
		.size = ipvsd_slice_size(word),
		.scheduler = ipvsd_slice_scheduler(word),
		.by_port = ipvsd_slice_flags(word) & IPVSD_SCHEDULER_BY_PORT,
		.falls_back = ipvsd_slice_flags(word) & IPVSD_SCHEDULER_FALLBACK,
	};
}

static __always_inline __u32 slot(__u32 index)
{
	__u32 row = index / IPVSD_SLOT_GROUP;
	struct ipvsd_slots *group = bpf_map_lookup_elem(&slots, &row);

	return group ? group->server[index % IPVSD_SLOT_GROUP] : 0;
}

/* Returns the index in a Maglev table for a client, which is the same on every director. With port 0 it depends on the
 * address alone. */
static __always_inline __u32 maglev_slot(struct slice table, __be32 client, __be16 client_port)
{
	return ipvsd_scale(ipvsd_maglev_hash(bpf_ntohl(client), bpf_ntohs(client_port)), table.size);
}

static __always_inline __u32 by_maglev(const struct ipvsd_service *service, __be32 client, __be16 client_port)
{
	struct slice table = slice_of(*(volatile const __u64 *)&service->maglev);
	__u32 index;

	trace_method(IPVSD_METHOD_MAGLEV, 0);
	if (!table.size)
		return 0;
	index = maglev_slot(table, client, client_port);
	trace_slot(index, table.size, client_port);
	return slot(table.first + index);
}

/* For loops by bpf_for_each_map_elem, which calls the callback for each element. bpf_loop needs Linux 5.17, and the
 * verifier of 6.1 rejects a plain loop of this length. The elements are never read or written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, IPVSD_LIST_LIMIT); /* also IPVSD_SWEEP_BUCKETS */
	__type(key, __u32);
	__type(value, __u8);
} loop_iterations SEC(".maps");

_Static_assert(IPVSD_LIST_LIMIT == IPVSD_SWEEP_BUCKETS, "one map gives both loops their iterations");

/* A zero that the verifier does not know. A variable that a callback writes must not begin as a constant. Kernels
 * before 6.7 verify a callback only for the state of its first call, and remove the branches that this call does not
 * take. */
static volatile __u32 opaque_zero;

/* IPVS's ip_vs_dest_conn_overhead. */
static __always_inline __u64 overhead_of(const struct ipvsd_conn_counts *counts)
{
	return ((__u64)counts->active << 8) + counts->inactive;
}

#define WALK_STEP 4 /* slots in one turn of a walk */

_Static_assert(WALK_STEP *IPVSD_LIST_LIMIT >= IPVSD_RING_LIMIT, "a walk sees all of a ring");

struct walk {
	__u32 first;
	__u32 size;
	__u32 from;
	__u32 passed;
	__u32 chosen;
	bool heeds_thresholds;
};

static long walk_on(void *map, const __u32 *turn, __u8 *value, struct walk *walk)
{
	for (int i = 0; i < WALK_STEP; i++) {
		__u32 id;

		if (walk->passed >= walk->size)
			return 1;
		id = slot(walk->first + (walk->from + walk->passed) % walk->size);
		walk->passed++;
		if (walk->heeds_thresholds ? is_available(id) : has_weight(id)) {
			walk->chosen = id;
			return 1;
		}
	}
	return 0;
}

/* Walks from the slot `from` on, and around, to the first server with a weight. With `heeds_thresholds`, that server
 * must not be overloaded either. `chosen` is 0 where there is none. `passed` counts the visited slots. */
static __always_inline struct walk walk_from(struct slice table, __u32 from, bool heeds_thresholds)
{
	struct walk walk = {
		.first = table.first,
		.size = table.size,
		.from = from,
		.passed = opaque_zero,
		.chosen = opaque_zero,
		.heeds_thresholds = heeds_thresholds,
	};

	bpf_for_each_map_elem(&loop_iterations, walk_on, &walk, 0);
	return walk;
}
