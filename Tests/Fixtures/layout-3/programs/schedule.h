/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Schedulers: a server id for a new flow, 0 where there is none. */
#pragma once

#include "flows.h"
#include "locality.h"
#include "maps.h"
#include "overload.h"
#include "tables.h"

/* ip_vs_rr.c, ip_vs_wrr.c: who is overloaded loses the turn to the next. Where all are, no turn is taken. */
static __always_inline __u32 after_turn(struct ipvsd_service *service, struct slice ring, __u32 position)
{
	struct walk walk = walk_from(ring, position, 1);

	__sync_fetch_and_add(&service->cursor, walk.chosen ? (__u64)walk.passed - 1 : -1ull);
	return walk.chosen;
}

static __always_inline __u32 take_turn(struct ipvsd_service *service, struct slice ring)
{
	return __sync_fetch_and_add(&service->cursor, 1) % ring.size;
}

static __always_inline __u32 by_turn(struct ipvsd_service *service, struct slice ring)
{
	__u32 position = take_turn(service, ring), id = slot(ring.first + position);

	return is_available(id) ? id : after_turn(service, ring, position);
}

struct search {
	__u64 overhead;
	__u32 weight;
	__u32 chosen;
	__u32 first;
	__u32 size;
	__u32 scheduler;
};

/* True where the candidate has less overhead for its weight than the one chosen so far. */
static __always_inline int has_less(const struct search *search, __u64 overhead, __u32 weight)
{
	return !search->chosen || search->overhead * weight > overhead * search->weight;
}

/* One real server's turn. 1 ends the search. */
static __always_inline int consider(struct search *search, __u32 position)
{
	struct ipvsd_server *server;
	struct ipvsd_load *load;
	__u32 id, weight;
	__u64 overhead;
	int better;

	if (position >= search->size)
		return 1;
	id = slot(search->first + position);
	server = bpf_map_lookup_elem(&servers, &id);
	load = bpf_map_lookup_elem(&loads, &id);
	if (!server || !load || !server->weight || is_overloaded(server, load))
		return 0;
	weight = search->scheduler == IPVSD_SCHEDULER_LC ? 1 : server->weight;
	overhead = overhead_of(load);
	switch (search->scheduler) {
	case IPVSD_SCHEDULER_FO: /* ip_vs_fo.c */
		search->chosen = id;
		return 1;
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

#define COMPARISONS 8 /* in one turn: the call of a callback costs more than a comparison */

static long consider_some(void *map, const __u32 *turn, __u8 *value, struct search *search)
{
	for (int i = 0; i < COMPARISONS; i++)
		if (consider(search, *turn * COMPARISONS + i))
			return 1;
	return 0;
}

/* The first of equals, as in IPVS. */
static __always_inline __u32 by_search(struct slice list)
{
	struct search search = {
		.overhead = nothing_yet,
		.weight = nothing_yet,
		.chosen = nothing_yet,
		.first = list.first,
		.size = list.size,
		.scheduler = list.scheduler,
	};

	bpf_for_each_map_elem(&turns, consider_some, &search, 0);
	return search.chosen;
}

#define REDRAWS 8

/* IPVS draws among those that are available. Redrawing gives them the same chances; where chance finds none, the next
 * one in the ring has to do. */
static __always_inline __u32 draw_slot(struct slice ring, __u64 draw)
{
	__u32 index = (__u32)((draw & 0xffffffff) * ring.size >> 32);
	__u32 id = slot(ring.first + index);

	for (int i = 0; i < REDRAWS && !is_available(id); i++) {
		draw = mix(draw + 1);
		index = (__u32)((draw & 0xffffffff) * ring.size >> 32);
		id = slot(ring.first + index);
	}
	return is_available(id) ? id : walk_from(ring, index, 1).chosen;
}

/* ip_vs_twos.c: of two servers, drawn by weight, the second only if it has less overhead for its weight. The draw is
 * a hash of the service's cursor, so that a model can follow it. */
static __always_inline __u32 by_two_choices(struct ipvsd_service *service, struct slice ring)
{
	__u64 draw = mix(__sync_fetch_and_add(&service->cursor, 1) + 1);
	__u32 one = draw_slot(ring, draw);
	__u32 other = draw_slot(ring, draw >> 32);
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &one);
	struct ipvsd_server *second = bpf_map_lookup_elem(&servers, &other);
	struct ipvsd_load *load = bpf_map_lookup_elem(&loads, &one);
	struct ipvsd_load *second_load = bpf_map_lookup_elem(&loads, &other);

	if (!server || !second || !load || !second_load)
		return one;
	return second->weight * overhead_of(load) > server->weight * overhead_of(second_load) ? other : one;
}

/* ip_vs_sh.c: hash_32 of address plus port, to 8 bits. Without fallback the table has no server of weight 0; with it,
 * the walk starts at twice the bucket, since ip_vs_sh_get_fallback adds the bucket to the offset and to the hash. */
static __always_inline __u32 by_source_hash(struct slice table, __be32 client, __be16 client_port,
					    __u32 heeds_thresholds)
{
	__u32 key = bpf_ntohl(client) + (table.by_port ? bpf_ntohs(client_port) : 0);
	__u32 bucket = key * 0x61C88647u >> 24;
	__u32 id = slot(table.first + bucket);

	if (!(heeds_thresholds && is_over_threshold(id)) && (!table.falls_back || has_weight(id)))
		return id;
	return table.falls_back ? walk_from(table, 2 * bucket, heeds_thresholds).chosen : 0;
}

/* Where ip_vs_mh.c's fallback hashes anew, ours takes the slots that follow: as random, in a Maglev table. */
static __always_inline __u32 by_maglev_hash(const struct ipvsd_service *service, struct slice list, __be32 client,
					    __be16 client_port, __u32 heeds_thresholds)
{
	struct slice table = slice_of(*(volatile const __u64 *)&service->maglev);
	__u32 index = maglev_slot(table, client, list.by_port ? client_port : 0), id;

	if (!table.size)
		return 0;
	id = slot(table.first + index);
	if (!heeds_thresholds || !is_over_threshold(id))
		return id;
	return list.falls_back ? walk_from(table, index, 1).chosen : 0;
}

static __always_inline __u32 choose_by_hash(const struct ipvsd_service *service, struct slice list, __be32 client,
					    __be16 client_port, __u32 heeds_thresholds)
{
	if (list.scheduler == IPVSD_SCHEDULER_MH)
		return by_maglev_hash(service, list, client, client_port, heeds_thresholds);
	return list.size ? by_source_hash(list, client, client_port, heeds_thresholds) : 0;
}

/* Every director makes the same choice for a client: packets without a connection need no memory. */
static __always_inline int is_hash_based(const struct ipvsd_service *service)
{
	return slice_of(service->schedule).scheduler >= IPVSD_SCHEDULER_SH;
}

static __always_inline __u32 choose(struct ipvsd_service *service, __be32 client, __be16 client_port)
{
	struct slice list = slice_of(*(volatile __u64 *)&service->schedule);
	if (list.scheduler >= IPVSD_SCHEDULER_SH)
		return choose_by_hash(service, list, client, client_port, 1);
	if (!list.size)
		return 0;
	switch (list.scheduler) {
	case IPVSD_SCHEDULER_RING:
		return by_turn(service, list);
	case IPVSD_SCHEDULER_TWOS:
		return by_two_choices(service, list);
	case IPVSD_SCHEDULER_LBLC:
	case IPVSD_SCHEDULER_LBLCR:
		return by_locality(service, list);
	}
	return by_search(list);
}

/* The server that any director names for a packet without a connection. No threshold counts: the connection may be an
 * old one, of which this director knows nothing. */
static __always_inline __u32 rederive(struct ipvsd_service *service, __be32 client, __be16 client_port)
{
	struct slice list = slice_of(*(volatile __u64 *)&service->schedule);
	if (list.scheduler >= IPVSD_SCHEDULER_SH)
		return choose_by_hash(service, list, client, client_port, 0);
	return by_maglev(service, client, client_port);
}
