/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The schedulers lblc and lblcr: locality-based least connections. IPVS keys them on the destination, which for a
 * service is its VIP. So the service has one server (lblc), or one set of servers, which grows under load and shrinks
 * after a day without change (lblcr). */
#pragma once

#include "constants.h"
#include "maps.h"
#include "tables.h"
#include "thresholds.h"
#include "trace.h"

/* The state of a search. Servers are ids, 0 for none yet. Their loads are looked up again for each comparison, as the
 * stack is short. */
struct locality {
	__u32 least;  /* the least loaded server of all that are available */
	__u32 member; /* the least loaded server of the set that is available */
	__u32 most;   /* the most loaded server of the set, overloaded ones included */
	__u32 first;
	__u32 size;
	__u32 emptied;
	__u16 members;
	__u16 has_idle; /* a server has fewer active connections than half its weight */
};

/* Compares the overheads of two servers for their weights. Returns less than 0 where that of `one` is less. */
static __always_inline int compare_overhead(__u32 one, __u32 other)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &one);
	struct ipvsd_server *second = bpf_map_lookup_elem(&servers, &other);
	struct ipvsd_conn_counts *counts = bpf_map_lookup_elem(&conn_counts, &one);
	struct ipvsd_conn_counts *second_counts = bpf_map_lookup_elem(&conn_counts, &other);
	__u64 mine, its;

	if (!server || !second || !counts || !second_counts)
		return 0;
	mine = overhead_of(counts) * second->weight;
	its = overhead_of(second_counts) * server->weight;
	return mine < its ? -1 : mine > its;
}

/* Whether the server with number `joined` joined the set after `other`. IPVS's set begins with the server that joined
 * last. */
static __always_inline bool joined_after(__u32 joined, __u32 other)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &other);

	return server && joined > server->joined;
}

static long consider_locality(void *map, const __u32 *turn, __u8 *value, struct locality *locality)
{
	struct ipvsd_server *server;
	struct ipvsd_conn_counts *counts;
	__u32 id, joined;
	int order;

	if (*turn >= locality->size)
		return 1;
	id = slot(locality->first + *turn);
	server = bpf_map_lookup_elem(&servers, &id);
	counts = bpf_map_lookup_elem(&conn_counts, &id);
	if (!server || !counts)
		return 0;
	joined = server->joined > locality->emptied ? server->joined : 0;
	if (joined)
		locality->members++;
	if (!server->weight)
		return 0;
	if ((__u64)counts->active * 2 < server->weight)
		locality->has_idle = 1;
	if (joined) {
		order = locality->most ? compare_overhead(id, locality->most) : 1;
		if (order > 0 || (!order && joined_after(joined, locality->most)))
			locality->most = id;
	}
	if (is_overloaded(server, counts))
		return 0;
	if (joined) {
		order = locality->member ? compare_overhead(id, locality->member) : -1;
		if (order < 0 || (!order && joined_after(joined, locality->member)))
			locality->member = id;
	}
	if (!locality->least || compare_overhead(id, locality->least) < 0)
		locality->least = id;
	return 0;
}

/* Whether the server has more active connections than its weight, while another server is half idle. */
static __always_inline bool is_crowded(const struct locality *locality, __u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	struct ipvsd_conn_counts *counts = bpf_map_lookup_elem(&conn_counts, &server_id);

	return locality->has_idle && server && counts && counts->active > server->weight;
}

/* Returns lblc's choice. As in ip_vs_lblc.c, the least loaded server replaces the VIP's server where that is crowded or
 * not available. Here an overloaded server is not available. IPVS would give an overloaded server all new
 * connections. */
static __always_inline __u32 by_cached(struct ipvsd_service *service, const struct locality *locality, __u32 cached)
{
	if (is_available(cached) && !is_crowded(locality, cached))
		return cached;
	if (locality->least)
		WRITE(service->cached = locality->least);
	return locality->least;
}

/* Returns lblcr's choice. As in ip_vs_lblcr.c, the least loaded server of the set is chosen. Where the set has no
 * available server, or that server is crowded, the least loaded of all servers joins the set. After a day without
 * change, the most loaded server leaves it. */
static __always_inline __u32 by_set(struct ipvsd_service *service, const struct locality *locality, __u32 now)
{
	__u32 changed = service->changed, server_id = locality->least;
	struct ipvsd_server *server;

	if (locality->members > 1 && now - changed > IPVSD_LOCALITY_EXPIRATION && locality->most &&
	    COMPARE_AND_SWAP(&service->changed, changed, now) == changed) {
		server_id = locality->most;
		server = bpf_map_lookup_elem(&servers, &server_id);
		if (server)
			WRITE(server->joined = 0);
	}
	if (locality->member && !is_crowded(locality, locality->member))
		return locality->member;
	server_id = locality->least;
	server = bpf_map_lookup_elem(&servers, &server_id);
	if (server_id && server && server->joined <= service->emptied) {
		WRITE(server->joined = __sync_fetch_and_add(&service->cached, 1) + 1);
		WRITE(service->changed = now);
	}
	return server_id;
}

static __always_inline __u32 by_locality(struct ipvsd_service *service, struct slice list)
{
	__u32 now = bpf_jiffies64() * constants.jiffy >> IPVSD_LOCALITY_SHIFT;
	__u32 cached, emptied;
	struct locality locality = {
		.least = opaque_zero,
		.member = opaque_zero,
		.most = opaque_zero,
		.first = list.first,
		.size = list.size,
		.members = opaque_zero,
		.has_idle = opaque_zero,
	};

	cached = service->cached;
	emptied = service->emptied;
	/* As IPVS does, the VIP's server or set is forgotten after a day without use. */
	if (now - service->used > IPVSD_LOCALITY_EXPIRATION) {
		if (list.scheduler == IPVSD_SCHEDULER_LBLC) {
			cached = 0;
			WRITE(service->cached = 0);
		} else {
			emptied = cached;
			WRITE(service->emptied = cached);
		}
	}
	if (service->used != now)
		WRITE(service->used = now);
	locality.emptied = emptied;
	bpf_for_each_map_elem(&loop_iterations, consider_locality, &locality, 0);
	return list.scheduler == IPVSD_SCHEDULER_LBLC ? by_cached(service, &locality, cached)
						      : by_set(service, &locality, now);
}
