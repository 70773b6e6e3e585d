/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* lblc and lblcr: locality-based least connections. IPVS keys them on the destination, which for a service is its VIP:
 * so the service has one server (lblc), or one set of servers that grows under load and shrinks in a day (lblcr). */
#pragma once

#include "answer.h"
#include "maps.h"
#include "overload.h"
#include "tables.h"

/* The best so far by overhead for its weight. */
struct candidate {
	__u64 overhead;
	__u32 joined;
	__u16 weight;
	__u16 id;
};

struct locality {
	struct candidate least; /* of all */
	struct candidate member; /* of the set, the least */
	struct candidate most;  /* of the set, the most, overloaded ones too */
	__u32 first;
	__u32 size;
	__u32 emptied;
	__u16 members;
	__u16 has_idle; /* one with less than half as many active connections as its weight */
};

static __always_inline void take(struct candidate *candidate, __u64 overhead, __u32 weight, __u32 id, __u32 joined)
{
	candidate->overhead = overhead;
	candidate->weight = weight;
	candidate->id = id;
	candidate->joined = joined;
}

/* Of equals the one that joined last, since IPVS's set has it first. */
static __always_inline int comes_before(__u64 mine, __u64 its, __u32 joined, const struct candidate *candidate)
{
	return !candidate->id || mine < its || (mine == its && joined > candidate->joined);
}

static long consider_locality(void *map, const __u32 *turn, __u8 *value, struct locality *locality)
{
	struct ipvsd_server *server;
	struct ipvsd_load *load;
	__u32 id, weight, joined;
	__u64 overhead;

	if (*turn >= locality->size)
		return 1;
	id = slot(locality->first + *turn);
	server = bpf_map_lookup_elem(&servers, &id);
	load = bpf_map_lookup_elem(&loads, &id);
	if (!server || !load)
		return 0;
	weight = server->weight;
	joined = server->joined > locality->emptied ? server->joined : 0;
	overhead = overhead_of(load);
	if (joined)
		locality->members++;
	if (!weight)
		return 0;
	if ((__u64)load->active * 2 < weight)
		locality->has_idle = 1;
	if (joined && comes_before(locality->most.overhead * weight, overhead * locality->most.weight, joined,
				   &locality->most))
		take(&locality->most, overhead, weight, id, joined);
	if (is_overloaded(server, load))
		return 0;
	if (joined && comes_before(overhead * locality->member.weight, locality->member.overhead * weight, joined,
				   &locality->member))
		take(&locality->member, overhead, weight, id, joined);
	if (!locality->least.id || locality->least.overhead * weight > overhead * locality->least.weight)
		take(&locality->least, overhead, weight, id, joined);
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
	if (locality->least.id)
		service->cached = locality->least.id;
	return locality->least.id;
}

/* ip_vs_lblcr.c: the least loaded of the set; the least loaded of all joins it where there is none, or where that one
 * is crowded. */
static __always_inline __u32 by_set(struct ipvsd_service *service, const struct locality *locality, __u32 now)
{
	__u32 changed = service->changed, server_id = locality->least.id;
	struct ipvsd_server *server;

	if (locality->members > 1 && now - changed > IPVSD_LOCALITY_EXPIRATION && locality->most.id &&
	    __sync_val_compare_and_swap(&service->changed, changed, now) == changed) {
		server_id = locality->most.id;
		server = bpf_map_lookup_elem(&servers, &server_id);
		if (server)
			server->joined = 0;
	}
	if (locality->member.id && !is_crowded(locality, locality->member.id))
		return locality->member.id;
	server_id = locality->least.id;
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
	struct locality locality = { .first = list.first, .size = list.size };

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
