/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Schedulers: a server id for a new flow, 0 where there is none. */
#pragma once

#include "flows.h"
#include "maps.h"

struct slice {
	__u32 first;
	__u32 size;
	__u32 scheduler;
	__u32 by_port;
};

static __always_inline struct slice slice_of(__u64 word)
{
	return (struct slice){
		.first = word,
		.size = word >> 32 & 0xffffff,
		.scheduler = word >> 56 & ~IPVSD_SCHEDULER_BY_PORT,
		.by_port = word >> 56 & IPVSD_SCHEDULER_BY_PORT,
	};
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
	__uint(max_entries, IPVSD_LIST_LIMIT); /* also IPVSD_SWEEP_BUCKETS */
	__type(key, __u32);
	__type(value, __u8);
} turns SEC(".maps");

struct search {
	__u64 overhead;
	__u32 weight;
	__u32 chosen;
	__u32 first;
	__u32 size;
	__u32 scheduler;
};

static __always_inline __u64 overhead_of(const struct ipvsd_load *load)
{
	return ((__u64)load->active << 8) + load->inactive;
}

/* True where the candidate has less overhead for its weight than the one chosen so far. */
static __always_inline int has_less(const struct search *search, __u64 overhead, __u32 weight)
{
	return !search->chosen || search->overhead * weight > overhead * search->weight;
}

/* One real server's turn. 1 ends the search. */
static long consider(void *map, const __u32 *turn, __u8 *value, struct search *search)
{
	struct ipvsd_server *server;
	struct ipvsd_load *load;
	__u32 id, weight;
	__u64 overhead;
	int better;

	if (*turn >= search->size)
		return 1;
	id = slot(search->first + *turn);
	server = bpf_map_lookup_elem(&servers, &id);
	load = bpf_map_lookup_elem(&loads, &id);
	if (!server || !load || !server->weight)
		return 0;
	weight = search->scheduler == IPVSD_SCHEDULER_LC ? 1 : server->weight;
	overhead = overhead_of(load);
	switch (search->scheduler) {
	case IPVSD_SCHEDULER_NQ: /* ip_vs_nq.c: an idle one at once, else as sed */
		if (!load->active) {
			search->chosen = id;
			return 1;
		}
		/* fall through */
	case IPVSD_SCHEDULER_SED: /* ip_vs_sed.c: what the load would be with the new connection */
		overhead = (__u64)load->active + 1;
		better = has_less(search, overhead, weight);
		break;
	case IPVSD_SCHEDULER_OVF: /* ip_vs_ovf.c: the heaviest that is not over its weight */
		better = load->active <= weight && (!search->chosen || weight > search->weight);
		break;
	default: /* ip_vs_lc.c, ip_vs_wlc.c */
		better = has_less(search, overhead, weight);
	}
	if (better) {
		search->chosen = id;
		search->overhead = overhead;
		search->weight = weight;
	}
	return 0;
}

/* The first of equals, as in IPVS. */
static __always_inline __u32 by_search(struct slice list)
{
	struct search search = { .first = list.first, .size = list.size, .scheduler = list.scheduler };

	bpf_for_each_map_elem(&turns, consider, &search, 0);
	return search.chosen;
}

/* ip_vs_twos.c: of two servers, drawn by weight, the second only if it has less overhead for its weight. The draw is
 * a hash of the service's cursor, so that a model can follow it. */
static __always_inline __u32 by_two_choices(struct ipvsd_service *service, struct slice ring)
{
	__u64 draw = mix(__sync_fetch_and_add(&service->cursor, 1) + 1);
	__u32 one = slot(ring.first + (__u32)((draw & 0xffffffff) * ring.size >> 32));
	__u32 other = slot(ring.first + (__u32)((draw >> 32) * ring.size >> 32));
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &one);
	struct ipvsd_server *second = bpf_map_lookup_elem(&servers, &other);
	struct ipvsd_load *load = bpf_map_lookup_elem(&loads, &one);
	struct ipvsd_load *second_load = bpf_map_lookup_elem(&loads, &other);

	if (!server || !second || !load || !second_load)
		return one;
	return second->weight * overhead_of(load) > server->weight * overhead_of(second_load) ? other : one;
}

/* ip_vs_sh.c: hash_32 of address plus port, to 8 bits. Fallbacks are in the table already. */
static __always_inline __u32 by_source_hash(struct slice table, __be32 client, __be16 client_port)
{
	__u32 key = bpf_ntohl(client) + (table.by_port ? bpf_ntohs(client_port) : 0);

	return slot(table.first + (key * 0x61C88647u >> 24));
}

static __always_inline __u32 choose(struct ipvsd_service *service, __be32 client, __be16 client_port)
{
	struct slice list = slice_of(*(volatile __u64 *)&service->schedule);

	if (list.scheduler == IPVSD_SCHEDULER_MH)
		return by_maglev(service, client, list.by_port ? client_port : 0);
	if (!list.size)
		return 0;
	switch (list.scheduler) {
	case IPVSD_SCHEDULER_RING:
		return slot(list.first + (__u32)(__sync_fetch_and_add(&service->cursor, 1) % list.size));
	case IPVSD_SCHEDULER_TWOS:
		return by_two_choices(service, list);
	case IPVSD_SCHEDULER_SH:
		return by_source_hash(list, client, client_port);
	}
	return by_search(list);
}

/* Every director makes the same choice for a client: packets without a connection need no memory. */
static __always_inline int is_hash_based(const struct ipvsd_service *service)
{
	return slice_of(service->schedule).scheduler >= IPVSD_SCHEDULER_SH;
}

/* The server that any director names for a packet without a connection. */
static __always_inline __u32 rederive(struct ipvsd_service *service, __be32 client, __be16 client_port)
{
	return is_hash_based(service) ? choose(service, client, client_port) : by_maglev(service, client, client_port);
}
