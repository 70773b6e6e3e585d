/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Schedulers: a server id for a new flow, 0 where there is none. */
#pragma once

#include "flows.h"
#include "maps.h"

struct slice {
	__u32 first;
	__u32 size;
	__u32 scheduler;
};

static __always_inline struct slice slice_of(__u64 word)
{
	return (struct slice){ .first = word, .size = word >> 32 & 0xffffff, .scheduler = word >> 56 };
}

static __always_inline __u32 slot(__u32 index)
{
	__u32 group = index >> 2;
	struct ipvsd_slots *four = bpf_map_lookup_elem(&slots, &group);

	return four ? four->server[index & 3] : 0;
}

/* The same on every director, and as LoadBalancing.MaglevTable has it. port 0: by address alone. */
static __always_inline __u32 by_maglev(const struct ipvsd_service *service, __be32 client, __be16 client_port)
{
	struct slice table = slice_of(*(volatile const __u64 *)&service->maglev);
	__u64 hash = mix((__u64)bpf_ntohl(client) << 16 | bpf_ntohs(client_port));

	if (!table.size)
		return 0;
	return slot(table.first + (__u32)((hash & 0xffffffff) * table.size >> 32));
}

/* Gives a loop its turns: bpf_loop is not in every kernel that we support (5.17), and the verifier of 6.1 gives up on a
 * plain loop of this length. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, IPVSD_LIST_LIMIT);
	__type(key, __u32);
	__type(value, __u8);
} turns SEC(".maps");

struct least_search {
	__u64 least_overhead;
	__u32 least_weight;
	__u32 least;
	__u32 first;
	__u32 size;
	__u32 weighted;
};

/* One real server's turn; ends the search where the list ends. */
static long compare_overhead(void *map, const __u32 *turn, __u8 *value, struct least_search *search)
{
	struct ipvsd_server *server;
	struct ipvsd_load *load;
	__u64 overhead;
	__u32 id, weight;

	if (*turn >= search->size)
		return 1;
	id = slot(search->first + *turn);
	server = bpf_map_lookup_elem(&servers, &id);
	load = bpf_map_lookup_elem(&loads, &id);
	if (!server || !load || !server->weight)
		return 0;
	weight = search->weighted ? server->weight : 1;
	overhead = ((__u64)load->active << 8) + load->inactive;
	if (!search->least || search->least_overhead * weight > overhead * search->least_weight) {
		search->least = id;
		search->least_overhead = overhead;
		search->least_weight = weight;
	}
	return 0;
}

/* ip_vs_lc.c and ip_vs_wlc.c: the least overhead, active * 256 + inactive, over weight; the first of equals. */
static __always_inline __u32 by_least_connections(struct slice list)
{
	struct least_search search = {
		.first = list.first, .size = list.size, .weighted = list.scheduler == IPVSD_SCHEDULER_WLC,
	};

	bpf_for_each_map_elem(&turns, compare_overhead, &search, 0);
	return search.least;
}

static __always_inline __u32 choose(struct ipvsd_service *service, __be32 client)
{
	struct slice list = slice_of(*(volatile __u64 *)&service->schedule);

	switch (list.scheduler) {
	case IPVSD_SCHEDULER_RING:
		if (!list.size)
			return 0;
		return slot(list.first + (__u32)(__sync_fetch_and_add(&service->cursor, 1) % list.size));
	case IPVSD_SCHEDULER_LC:
	case IPVSD_SCHEDULER_WLC:
		return by_least_connections(list);
	case IPVSD_SCHEDULER_MH:
		return by_maglev(service, client, 0);
	}
	return 0;
}

/* The server that any director names for a packet without a connection. */
static __always_inline __u32 rederive(const struct ipvsd_service *service, __be32 client, __be16 client_port)
{
	int by_address = slice_of(service->schedule).scheduler == IPVSD_SCHEDULER_MH;

	return by_maglev(service, client, by_address ? 0 : client_port);
}
