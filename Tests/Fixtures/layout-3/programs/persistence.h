/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Persistent services (ipvsadm -p): a client's new connections go where its last one went. As in IPVS with its
 * default expire_quiescent_template=0, also to a real server of weight 0, but not to one that is out; a server that
 * MOVES is as with expire_quiescent_template=1. */
#pragma once

#include "flows.h"
#include "maps.h"
#include "packet.h"
#include "schedule.h"

/* What a packet found at its destination. */
struct service_entry {
	struct ipvsd_service *service;
	__u32 id;
	__u32 flags; /* IPVSD_SERVICE_ */
};

static __always_inline int enter(__u32 id, __u32 flags, struct service_entry *entry)
{
	entry->id = id;
	entry->flags = flags;
	entry->service = bpf_map_lookup_elem(&schedules, &id);
	return entry->service != 0;
}

/* What follows are global functions, which the verifier takes by themselves: at each of their calls again they would be
 * too much for it. Scalars alone go in: the stack of a call comes on top of its caller's, and 512 bytes are all. */

#define OUT (IPVSD_SERVER_DOWN | IPVSD_SERVER_REMOVED)

/* The server of the client's template, 0 where there is none, or it is one of `refused`. */
__noinline int by_template(__u32 id, __be32 client, __u32 refused)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&schedules, &id);
	struct ipvsd_template_key key = { .service = id };
	struct ipvsd_template *template;
	struct ipvsd_server *server;
	__u32 now = ticks(), server_id;

	if (!service)
		return 0;
	key.client = client & service->netmask;
	template = bpf_map_lookup_elem(&templates, &key);
	if (!template || (__s32)(now - template->stamp) > (__s32)service->persistence)
		return 0;
	server_id = template->server;
	server = bpf_map_lookup_elem(&servers, &server_id);
	/* The row may be nobody's by now, or another service's. */
	if (!server || server->service != id ||
	    (server->flags & (IPVSD_SERVER_USED | refused)) != IPVSD_SERVER_USED)
		return 0;
	template->stamp = now;
	return server_id;
}

__noinline int keep_template(__u32 id, __be32 client, __u32 server)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&schedules, &id);
	struct ipvsd_template_key key = { .service = id };
	struct ipvsd_template template = { .server = server, .stamp = ticks() };

	if (!service)
		return 0;
	key.client = client & service->netmask;
	bpf_map_update_elem(&templates, &key, &template, BPF_ANY);
	return server;
}

__noinline int choose_new(__u32 id, __u32 flags, __be32 client, __u32 client_port)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&schedules, &id);
	__u32 server;

	if (!service)
		return 0;
	if (!(flags & IPVSD_SERVICE_PERSISTENT))
		return choose(service, client, client_port);
	server = by_template(id, client, OUT | IPVSD_SERVER_MOVES);
	if (!server) {
		server = choose(service, client, client_port);
		if (server)
			keep_template(id, client, server);
	}
	return server;
}

/* Of a ring, who comes after a server that takes no new connections. */
__noinline int pass_turn(__u32 id, __u32 position)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&schedules, &id);
	struct slice ring;

	if (!service)
		return 0;
	ring = slice_of(*(volatile __u64 *)&service->schedule);
	return ring.size ? after_turn(service, ring, position) : 0;
}

/* Without memory, the same for all connections of a persistent client. Who moves does so with a new connection: this may be
 * one that goes on. */
__noinline int choose_again(__u32 id, __u32 flags, __be32 client, __u32 client_port)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&schedules, &id);
	__u32 server;

	if (!service)
		return 0;
	if (!(flags & IPVSD_SERVICE_PERSISTENT))
		return rederive(service, client, client_port);
	server = by_template(id, client, OUT);
	return server ? server : by_maglev(service, client & service->netmask, 0);
}

/* Another one than the silent server out of the Maglev table; 0 where two tries find none. */
__noinline int choose_besides(__u32 id, __be32 client, __u32 client_port, __u32 silent)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&schedules, &id);
	__u32 other;

	if (!service)
		return 0;
	other = by_maglev(service, client, client_port + 1);
	if (other == silent)
		other = by_maglev(service, client, client_port + 2);
	return other == silent ? 0 : other;
}

/* The server of a new connection. The turn of a server that is available, which is what most get, takes no call. */
static __always_inline __u32 select_server(const struct service_entry *entry, __be32 client, __be16 client_port)
{
	struct slice ring = slice_of(*(volatile __u64 *)&entry->service->schedule);
	__u32 position, id;

	if (ring.scheduler == IPVSD_SCHEDULER_RING && ring.size && !(entry->flags & IPVSD_SERVICE_PERSISTENT)) {
		position = take_turn(entry->service, ring);
		id = slot(ring.first + position);
		return is_available(id) ? id : pass_turn(entry->id, position) & 0xffff;
	}
	return choose_new(entry->id, entry->flags, client, client_port) & 0xffff;
}

/* The server of a packet without a connection. */
static __always_inline __u32 rederive_server(const struct service_entry *entry, __be32 client, __be16 client_port)
{
	return choose_again(entry->id, entry->flags, client, client_port) & 0xffff;
}

/* Another server than the silent one, 0 where there is none: the scheduler may name the same again, and a hash always
 * does. */
static __always_inline __u32 select_other(const struct service_entry *entry, __be32 client, __be16 client_port,
					  __u32 silent)
{
	__u32 other = choose_new(entry->id, entry->flags & ~IPVSD_SERVICE_PERSISTENT, client, client_port) & 0xffff;

	if (other == silent)
		other = choose_besides(entry->id, client, client_port, silent) & 0xffff;
	if (!other || is_over_threshold(other))
		return 0;
	if (entry->flags & IPVSD_SERVICE_PERSISTENT)
		keep_template(entry->id, client, other);
	return other;
}

/* How far the stamp of a flow may lag: its packets keep the template, too. */
static __always_inline __u32 longest_lag(const struct service_entry *entry)
{
	return entry->flags & IPVSD_SERVICE_PERSISTENT ? entry->service->persistence >> 3 : 0xffff;
}
