/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* lblc and lblcr: locality-based least connections. IPVS keys them on the destination, which for a service is its VIP:
 * so the service has one server (lblc), or one set of servers that grows under load and shrinks in a day (lblcr). */
#pragma once

#include "answer.h"
#include "maps.h"
#include "overload.h"
#include "tables.h"

/* Server ids, 0 for none so far. Their loads are looked up again for each comparison: the stack is short. */
struct locality {
	__u32 least;  /* of all */
	__u32 member; /* of the set, the least */
	__u32 most;   /* of the set, the most, overloaded ones too */
	__u32 first;
	__u32 size;
	__u32 emptied;
	__u16 members;
	__u16 has_idle; /* one with less than half as many active connections as its weight */
};

/* Less than 0: server `one` has less overhead for its weight than `other`. */
static __always_inline int compare_overhead(__u32 one, __u32 other)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &one);
	struct ipvsd_server *second = bpf_map_lookup_elem(&servers, &other);
	struct ipvsd_load *load = bpf_map_lookup_elem(&loads, &one);
	struct ipvsd_load *second_load = bpf_map_lookup_elem(&loads, &other);
	__u64 mine, its;

	if (!server || !second || !load || !second_load)
		return 0;
	mine = overhead_of(load) * second->weight;
	its = overhead_of(second_load) * server->weight;
	return mine < its ? -1 : mine > its;
}

/* IPVS's set has the one that joined last first. */
static __always_inline int joined_after(__u32 joined, __u32 other)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &other);

	return server && joined > server->joined;
}

static long consider_locality(void *map, const __u32 *turn, __u8 *value, struct locality *locality)
{
	struct ipvsd_server *server;
	struct ipvsd_load *load;
	__u32 id, joined;
	int order;

	if (*turn >= locality->size)
		return 1;
	id = slot(locality->first + *turn);
	server = bpf_map_lookup_elem(&servers, &id);
	load = bpf_map_lookup_elem(&loads, &id);
	if (!server || !load)
		return 0;
	joined = server->joined > locality->emptied ? server->joined : 0;
	if (joined)
		locality->members++;
	if (!server->weight)
		return 0;
	if ((__u64)load->active * 2 < server->weight)
		locality->has_idle = 1;
	if (joined) {
		order = locality->most ? compare_overhead(id, locality->most) : 1;
		if (order > 0 || (!order && joined_after(joined, locality->most)))
			locality->most = id;
	}
	if (is_overloaded(server, load))
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

/* More active connections than its weight, where another server is half idle. */
static __always_inline int is_crowded(const struct locality *locality, __u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	struct ipvsd_load *load = bpf_map_lookup_elem(&loads, &server_id);

	return locality->has_idle && server && load && load->active > server->weight;
}

/* ip_vs_lblc.c; but the threshold counts for the VIP's server, too, which IPVS leaves out: it would get all of the
 * new connections. */
static __always_inline __u32 by_cached(struct ipvsd_service *service, const struct locality *locality)
{
	__u32 cached = service->cached;

	if (is_available(cached) && !is_crowded(locality, cached))
		return cached;
	if (locality->least)
		service->cached = locality->least;
	return locality->least;
}

/* ip_vs_lblcr.c: the least loaded of the set; the least loaded of all joins it where there is none, or where that one
 * is crowded. */
static __always_inline __u32 by_set(struct ipvsd_service *service, const struct locality *locality, __u32 now)
{
	__u32 changed = service->changed, server_id = locality->least;
	struct ipvsd_server *server;

	if (locality->members > 1 && now - changed > IPVSD_LOCALITY_EXPIRATION && locality->most &&
	    __sync_val_compare_and_swap(&service->changed, changed, now) == changed) {
		server_id = locality->most;
		server = bpf_map_lookup_elem(&servers, &server_id);
		if (server)
			server->joined = 0;
	}
	if (locality->member && !is_crowded(locality, locality->member))
		return locality->member;
	server_id = locality->least;
	server = bpf_map_lookup_elem(&servers, &server_id);
	if (server_id && server && server->joined <= service->emptied) {
		server->joined = __sync_fetch_and_add(&service->cached, 1) + 1;
		service->changed = now;
	}
	return server_id;
}

static __always_inline __u32 by_locality(struct ipvsd_service *service, struct slice list)
{
	__u32 now = bpf_jiffies64() * constants.jiffy >> IPVSD_LOCALITY_SHIFT;
	struct locality locality = {
		.least = nothing_yet,
		.member = nothing_yet,
		.most = nothing_yet,
		.first = list.first,
		.size = list.size,
		.members = nothing_yet,
		.has_idle = nothing_yet,
	};

	/* What nobody has asked for in a day, IPVS forgets. */
	if (now - service->used > IPVSD_LOCALITY_EXPIRATION) {
		if (list.scheduler == IPVSD_SCHEDULER_LBLC)
			service->cached = 0;
		else
			service->emptied = service->cached;
	}
	if (service->used != now)
		service->used = now;
	locality.emptied = service->emptied;
	bpf_for_each_map_elem(&turns, consider_locality, &locality, 0);
	return list.scheduler == IPVSD_SCHEDULER_LBLC ? by_cached(service, &locality)
						      : by_set(service, &locality, now);
}
