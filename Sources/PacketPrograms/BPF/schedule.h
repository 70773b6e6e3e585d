/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The schedulers. They return the id of the server for a new flow, or 0 where no server takes new connections. */
#pragma once

#include "locality.h"
#include "maps.h"
#include "persistence.h"
#include "tables.h"
#include "thresholds.h"
#include "trace.h"

/* Gives the turn of the slot `position`, whose server takes no new connections, to the next available server. So do
 * ip_vs_rr.c and ip_vs_wrr.c. Where there is none, returns 0, and gives the turn back. */
static __always_inline __u32 after_turn(struct ipvsd_service *service, struct slice ring, __u32 position)
{
	struct walk walk = walk_from(ring, position, true);

	trace_passed(walk.chosen ? walk.passed - 1 : walk.passed);
	WRITE(__sync_fetch_and_add(&service->cursor, walk.chosen ? (__u64)walk.passed - 1 : -1ull));
	return walk.chosen;
}

static __always_inline __u32 take_turn(struct ipvsd_service *service, struct slice ring)
{
	__u32 position = FETCH_AND_ADD(&service->cursor, 1) % ring.size;

	trace_method(IPVSD_METHOD_SCHEDULER, ring.scheduler);
	trace_slot(position, ring.size, false);
	return position;
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

/* Whether the candidate has less overhead for its weight than the present choice. */
static __always_inline bool has_less(const struct search *search, __u64 overhead, __u32 weight)
{
	return !search->chosen || search->overhead * weight > overhead * search->weight;
}

/* Compares one real server. Returns true to end the search. */
static __always_inline bool consider(struct search *search, __u32 position)
{
	struct ipvsd_server *server;
	struct ipvsd_conn_counts *counts;
	__u32 id, weight;
	__u64 overhead;
	bool better;

	if (position >= search->size)
		return true;
	id = slot(search->first + position);
	server = bpf_map_lookup_elem(&servers, &id);
	counts = bpf_map_lookup_elem(&conn_counts, &id);
	if (!server || !counts || !server->weight || is_overloaded(server, counts))
		return false;
	weight = search->scheduler == IPVSD_SCHEDULER_LC ? 1 : server->weight;
	overhead = overhead_of(counts);
	switch (search->scheduler) {
	case IPVSD_SCHEDULER_FO: /* ip_vs_fo.c */
		search->chosen = id;
		return true;
	case IPVSD_SCHEDULER_NQ: /* ip_vs_nq.c: the first server without active connections, else as sed */
		if (!counts->active) {
			search->chosen = id;
			return true;
		}
		__attribute__((fallthrough));
	case IPVSD_SCHEDULER_SED: /* ip_vs_sed.c: the active connections, with the new one added */
		overhead = (__u64)counts->active + 1;
		better = has_less(search, overhead, weight);
		break;
	case IPVSD_SCHEDULER_OVF: /* ip_vs_ovf.c: the highest weight that the active connections do not exceed */
		better = counts->active <= weight && (!search->chosen || weight > search->weight);
		break;
	default: /* ip_vs_lc.c, ip_vs_wlc.c */
		better = has_less(search, overhead, weight);
	}
	if (better) {
		search->chosen = id;
		search->overhead = overhead;
		search->weight = weight;
	}
	return false;
}

#define COMPARISONS 8 /* in one call of the callback, as the call costs more than a comparison */

static long consider_some(void *map, const __u32 *turn, __u8 *value, struct search *search)
{
	for (int i = 0; i < COMPARISONS; i++)
		if (consider(search, *turn * COMPARISONS + i))
			return 1;
	return 0;
}

/* Returns the best server of the list by its scheduler. Of equal servers it is the first, as in IPVS. */
static __always_inline __u32 by_search(struct slice list)
{
	struct search search = {
		.overhead = opaque_zero,
		.weight = opaque_zero,
		.chosen = opaque_zero,
		.first = list.first,
		.size = list.size,
		.scheduler = list.scheduler,
	};

	bpf_for_each_map_elem(&loop_iterations, consider_some, &search, 0);
	return search.chosen;
}

/* Returns an available server by draws from the ring. IPVS draws among the available servers alone. Drawing again gives
 * them the same chances. Where the draws find none, the next available server in the ring is taken. */
static __always_inline __u32 draw_slot(struct slice ring, __u64 draw)
{
	__u32 index = ipvsd_scale(draw, ring.size);
	__u32 id = slot(ring.first + index);

	for (int i = 0; i < IPVSD_REDRAWS && !is_available(id); i++) {
		draw = ipvsd_mix(draw + 1);
		index = ipvsd_scale(draw, ring.size);
		id = slot(ring.first + index);
	}
	return is_available(id) ? id : walk_from(ring, index, true).chosen;
}

/* As in ip_vs_twos.c, two servers are drawn by weight, and the second is chosen only if it has less overhead for its
 * weight. The draw is a hash of the service's cursor, so that a model can reproduce it. */
static __always_inline __u32 by_two_choices(struct ipvsd_service *service, struct slice ring)
{
	__u64 draw = ipvsd_mix(FETCH_AND_ADD(&service->cursor, 1) + 1);
	__u32 one = draw_slot(ring, draw);
	__u32 other = draw_slot(ring, draw >> 32);
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &one);
	struct ipvsd_server *second = bpf_map_lookup_elem(&servers, &other);
	struct ipvsd_conn_counts *counts = bpf_map_lookup_elem(&conn_counts, &one);
	struct ipvsd_conn_counts *second_counts = bpf_map_lookup_elem(&conn_counts, &other);

	trace_slot(IPVSD_NO_SLOT, ring.size, false);
	if (!server || !second || !counts || !second_counts)
		return one;
	return second->weight * overhead_of(counts) > server->weight * overhead_of(second_counts) ? other : one;
}

/* Returns sh's choice, as in ip_vs_sh.c. Without fallback the table has no server of weight 0. With fallback the walk
 * starts at twice the bucket, since ip_vs_sh_get_fallback adds the bucket to the offset and to the hash. */
static __always_inline __u32 by_source_hash(struct slice table, __be32 client, __be16 client_port,
					    bool heeds_thresholds)
{
	__u32 key = bpf_ntohl(client) + (table.by_port ? bpf_ntohs(client_port) : 0);
	__u32 bucket = ipvsd_sh_bucket(key);
	__u32 id = slot(table.first + bucket);

	trace_slot(bucket, table.size, table.by_port);
	if (!(heeds_thresholds && is_over_threshold(id)) && (!table.falls_back || has_weight(id)))
		return id;
	trace_passed(1);
	return table.falls_back ? walk_from(table, 2 * bucket, heeds_thresholds).chosen : 0;
}

/* Returns mh's choice. The fallback of ip_vs_mh.c hashes anew. Here it takes the following slots, which are as random
 * in a Maglev table. */
static __always_inline __u32 by_maglev_hash(const struct ipvsd_service *service, struct slice list, __be32 client,
					    __be16 client_port, bool heeds_thresholds)
{
	struct slice table = slice_of(*(volatile const __u64 *)&service->maglev);
	__u32 index = maglev_slot(table, client, list.by_port ? client_port : 0), id;

	if (!table.size)
		return 0;
	trace_slot(index, table.size, list.by_port);
	id = slot(table.first + index);
	if (!heeds_thresholds || !is_over_threshold(id))
		return id;
	trace_passed(1);
	return list.falls_back ? walk_from(table, index, true).chosen : 0;
}

static __always_inline __u32 choose_by_hash(const struct ipvsd_service *service, struct slice list, __be32 client,
					    __be16 client_port, bool heeds_thresholds)
{
	trace_method(IPVSD_METHOD_SCHEDULER, list.scheduler);
	if (list.scheduler == IPVSD_SCHEDULER_MH)
		return by_maglev_hash(service, list, client, client_port, heeds_thresholds);
	return list.size ? by_source_hash(list, client, client_port, heeds_thresholds) : 0;
}

static __always_inline bool is_hash_based(const struct ipvsd_service *service)
{
	return ipvsd_scheduler_is_hash(ipvsd_slice_scheduler(service->schedule));
}

static __always_inline __u32 choose(struct ipvsd_service *service, __be32 client, __be16 client_port)
{
	struct slice list = slice_of(*(volatile __u64 *)&service->schedule);
	if (ipvsd_scheduler_is_hash(list.scheduler))
		return choose_by_hash(service, list, client, client_port, true);
	trace_method(IPVSD_METHOD_SCHEDULER, list.scheduler);
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

/* Returns the server that every director chooses for a packet without a connection. Thresholds do not count, as the
 * connection may be an old one that this director does not know. */
static __always_inline __u32 choose_stateless(struct ipvsd_service *service, __be32 client, __be16 client_port)
{
	struct slice list = slice_of(*(volatile __u64 *)&service->schedule);
	if (ipvsd_scheduler_is_hash(list.scheduler))
		return choose_by_hash(service, list, client, client_port, false);
	return by_maglev(service, client, client_port);
}

/* The service of a packet. */
struct service_entry {
	struct ipvsd_service *service;
	__u32 id;
	__u32 flags; /* IPVSD_SERVICE_ */
};

static __always_inline bool lookup_service(__u32 id, __u32 flags, struct service_entry *entry)
{
	entry->id = id;
	entry->flags = flags;
	entry->service = bpf_map_lookup_elem(&services, &id);
	return entry->service != NULL;
}

/* The four __noinline functions below are global for the reasons in persistence.h. */

/* Returns the server of a new connection. For a persistent service it is that of the client's template, or else the
 * client gets a template. `left`: IPVSD_SERVER_LEFT_BY_. */
__noinline int choose_new(__u32 id, __u32 flags, __be32 client, __u32 client_port, __u32 left)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&services, &id);
	__u32 server;

	if (!service)
		return 0;
	if (!(flags & IPVSD_SERVICE_PERSISTENT))
		return choose(service, client, client_port);
	server = by_template(id, client, left);
	/* This is at least the client's second datagram, and confirms the client. */
	if (server & UNCONFIRMED && left == IPVSD_SERVER_LEFT_BY_DATAGRAMS)
		confirm_template(id, client, server & 0xffff, left);
	if (server)
		return server & 0xffff;
	if (lacks_room_for_templates()) {
		TRACE(trace.lacks_room_for_template = 1);
		return by_maglev(service, client & service->netmask, 0);
	}
	server = choose(service, client, client_port);
	if (server)
		keep_template(id, client, server, 1);
	return server;
}

/* Returns the next available server of a ring after the slot `position`, whose server takes no new connections. */
__noinline int pass_turn(__u32 id, __u32 position)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&services, &id);
	struct slice ring;

	if (!service)
		return 0;
	ring = slice_of(*(volatile __u64 *)&service->schedule);
	return ring.size ? after_turn(service, ring, position) : 0;
}

/* Returns the server of a packet without an entry. It is the same for all connections of a persistent client. A server
 * with IPVSD_SERVER_MOVES also counts, since a client moves only with a new connection, and this packet may be of an
 * old one. */
__noinline int reselect_stateless(__u32 id, __u32 flags, __be32 client, __u32 client_port)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&services, &id);
	__u32 server;

	if (!service)
		return 0;
	if (!(flags & IPVSD_SERVICE_PERSISTENT))
		return choose_stateless(service, client, client_port);
	server = by_template(id, client, IPVSD_SERVER_OUT) & 0xffff;
	return server ? server : by_maglev(service, client & service->netmask, 0);
}

/* Returns another server than the silent one from the Maglev table; 0 where two tries find none. */
__noinline int maglev_excluding(__u32 id, __be32 client, __u32 client_port, __u32 silent)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&services, &id);
	__u32 other;

	if (!service)
		return 0;
	other = by_maglev(service, client, client_port + 1);
	if (other == silent)
		other = by_maglev(service, client, client_port + 2);
	return other == silent ? 0 : other;
}

/* Returns the server of a new connection. In the common case, the turn of an available server, it makes no call.
 * `limited`: the server may have a threshold, so that note_connection has to follow. */
static __always_inline __u32 select_server(const struct service_entry *entry, __be32 client, __be16 client_port,
					   __u32 left, bool *limited)
{
	struct slice ring = slice_of(*(volatile __u64 *)&entry->service->schedule);
	struct ipvsd_server *server;
	__u32 position, id;

	*limited = true;
	if (ring.scheduler == IPVSD_SCHEDULER_RING && ring.size && !(entry->flags & IPVSD_SERVICE_PERSISTENT)) {
		position = take_turn(entry->service, ring);
		id = slot(ring.first + position);
		server = bpf_map_lookup_elem(&servers, &id);
		if (!server || !server->weight || exceeds_threshold(server, id))
			return pass_turn(entry->id, position) & 0xffff;
		*limited = server->upper_threshold;
		return id;
	}
	return choose_new(entry->id, entry->flags, client, client_port, left) & 0xffff;
}

/* Returns the server of a packet without a connection. */
static __always_inline __u32 stateless_server(const struct service_entry *entry, __be32 client, __be16 client_port)
{
	return reselect_stateless(entry->id, entry->flags, client, client_port) & 0xffff;
}

/* Returns another server than the silent one; 0 where none is found, or the one that is found is overloaded. The
 * scheduler may name the silent server again, and a hash always does. Then the Maglev table decides. */
static __always_inline __u32 select_excluding(const struct service_entry *entry, __be32 client, __be16 client_port,
					      __u32 silent)
{
	__u32 other = choose_new(entry->id, entry->flags & ~IPVSD_SERVICE_PERSISTENT, client, client_port,
				 IPVSD_SERVER_LEFT_BY_CONNECTIONS) &
		      0xffff;

	if (other == silent)
		other = maglev_excluding(entry->id, client, client_port, silent) & 0xffff;
	if (!other || is_over_threshold(other))
		return 0;
	if (entry->flags & IPVSD_SERVICE_PERSISTENT)
		keep_template(entry->id, client, other, 0);
	return other;
}

#define PERSISTENCE_LAG_SHIFT 3 /* 1/8 of the persistence: a template ends that much too early at most */

/* Returns the ticks by which the stamp of a flow may lag. A packet that refreshes the stamp also refreshes the client's
 * template. */
static __always_inline __u32 longest_lag(const struct service_entry *entry)
{
	return entry->flags & IPVSD_SERVICE_PERSISTENT ? entry->service->persistence >> PERSISTENCE_LAG_SHIFT : 0xffff;
}
