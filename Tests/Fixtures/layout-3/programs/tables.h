/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The tables of the schedulers: slices of the slots, and ways through them. */
#pragma once

#include "flows.h"
#include "maps.h"
#include "overload.h"

struct slice {
	__u32 first;
	__u32 size;
	__u32 scheduler;
	__u32 by_port;
	__u32 falls_back;
};

#define SCHEDULER_FLAGS (IPVSD_SCHEDULER_BY_PORT | IPVSD_SCHEDULER_FALLBACK)

static __always_inline struct slice slice_of(__u64 word)
{
	return (struct slice){
		.first = word,
		.size = word >> 32 & 0xffffff,
		.scheduler = word >> 56 & ~SCHEDULER_FLAGS,
		.by_port = word >> 56 & IPVSD_SCHEDULER_BY_PORT,
		.falls_back = word >> 56 & IPVSD_SCHEDULER_FALLBACK,
	};
}

static __always_inline __u32 slot(__u32 index)
{
	__u32 group = index >> 2;
	struct ipvsd_slots *four = bpf_map_lookup_elem(&slots, &group);

	return four ? four->server[index & 3] : 0;
}

/* The same on every director, and as LoadBalancing.MaglevTable has it. port 0: by address alone. */
static __always_inline __u32 maglev_slot(struct slice table, __be32 client, __be16 client_port)
{
	__u64 hash = mix((__u64)bpf_ntohl(client) << 16 | bpf_ntohs(client_port));

	return (__u32)((hash & 0xffffffff) * table.size >> 32);
}

static __always_inline __u32 by_maglev(const struct ipvsd_service *service, __be32 client, __be16 client_port)
{
	struct slice table = slice_of(*(volatile const __u64 *)&service->maglev);

	if (!table.size)
		return 0;
	return slot(table.first + maglev_slot(table, client, client_port));
}

/* Gives a loop its turns: bpf_loop is not in every kernel that we support (5.17), and the verifier of 6.1 gives up on a
 * plain loop of this length. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, IPVSD_LIST_LIMIT); /* also IPVSD_SWEEP_BUCKETS */
	__type(key, __u32);
	__type(value, __u8);
} turns SEC(".maps");

/* 0, which the verifier does not know. What a callback writes must not begin as a constant: kernels before 6.7 look at a
 * callback only as its first call finds things, and cut off the branches that this call does not take. */
static volatile __u32 nothing_yet;

/* ip_vs_dest_conn_overhead */
static __always_inline __u64 overhead_of(const struct ipvsd_load *load)
{
	return ((__u64)load->active << 8) + load->inactive;
}

#define WALK_STEP 4 /* slots in one turn of a walk: 4,096 in all, as many as a ring has at most */

struct walk {
	__u32 first;
	__u32 size;
	__u32 from;
	__u32 passed;
	__u32 chosen;
	__u32 heeds_thresholds;
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

/* The first server that is available, from a slot on and around. */
static __always_inline struct walk walk_from(struct slice table, __u32 from, __u32 heeds_thresholds)
{
	struct walk walk = {
		.first = table.first,
		.size = table.size,
		.from = from,
		.passed = nothing_yet,
		.chosen = nothing_yet,
		.heeds_thresholds = heeds_thresholds,
	};

	bpf_for_each_map_elem(&turns, walk_on, &walk, 0);
	return walk;
}
