/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Persistent services (ipvsadm -p): a client's new connections go where its last one went. As in IPVS with its
 * default expire_quiescent_template=0, also to a real server of weight 0, but not to one that is out. */
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

static __always_inline struct ipvsd_template_key template_key(const struct service_entry *entry, __be32 client)
{
	return (struct ipvsd_template_key){ .client = client & entry->service->netmask, .service = entry->id };
}

/* The server of the client's template, 0 where there is none that counts. */
static __always_inline __u32 by_template(const struct service_entry *entry, __be32 client)
{
	struct ipvsd_template_key key = template_key(entry, client);
	struct ipvsd_template *template;
	struct ipvsd_server *server;
	__u32 now = ticks(), id;

	template = bpf_map_lookup_elem(&templates, &key);
	if (!template || now - template->stamp > entry->service->persistence)
		return 0;
	id = template->server;
	server = bpf_map_lookup_elem(&servers, &id);
	if (!server || server->flags & (IPVSD_SERVER_DOWN | IPVSD_SERVER_REMOVED))
		return 0;
	template->stamp = now;
	return id;
}

static __always_inline void keep_template(const struct service_entry *entry, __be32 client, __u32 server)
{
	struct ipvsd_template_key key = template_key(entry, client);
	struct ipvsd_template template = { .server = server, .stamp = ticks() };

	bpf_map_update_elem(&templates, &key, &template, BPF_ANY);
}

/* Global, so that it is verified once and not for every call. */
__noinline int choose_new(__u32 id, __u32 flags, __be32 client, __u32 client_port)
{
	struct service_entry entry;
	__u32 server;

	if (!enter(id, flags, &entry))
		return 0;
	if (!(flags & IPVSD_SERVICE_PERSISTENT))
		return choose(entry.service, client, client_port);
	server = by_template(&entry, client);
	if (!server) {
		server = choose(entry.service, client, client_port);
		if (server)
			keep_template(&entry, client, server);
	}
	return server;
}

/* Without memory, the same for all connections of a persistent client. */
__noinline int choose_again(__u32 id, __u32 flags, __be32 client, __u32 client_port)
{
	struct service_entry entry;
	__u32 server;

	if (!enter(id, flags, &entry))
		return 0;
	if (!(flags & IPVSD_SERVICE_PERSISTENT))
		return rederive(entry.service, client, client_port);
	server = by_template(&entry, client);
	return server ? server : by_maglev(entry.service, client & entry.service->netmask, 0);
}

/* The server of a new connection. */
static __always_inline __u32 select_server(const struct service_entry *entry, __be32 client, __be16 client_port)
{
	return choose_new(entry->id, entry->flags, client, client_port) & 0xffff;
}

/* The server of a packet without a connection. */
static __always_inline __u32 rederive_server(const struct service_entry *entry, __be32 client, __be16 client_port)
{
	return choose_again(entry->id, entry->flags, client, client_port) & 0xffff;
}

/* Another server than the silent one, if the scheduler has one: it may name the same again, and a hash always does. */
static __always_inline __u32 choose_other(const struct service_entry *entry, __be32 client, __be16 client_port, __u32 silent)
{
	__u32 other = choose_new(entry->id, entry->flags & ~IPVSD_SERVICE_PERSISTENT, client, client_port) & 0xffff;

	if (other == silent)
		other = by_maglev(entry->service, client, client_port + 1);
	if (other == silent)
		other = by_maglev(entry->service, client, client_port + 2);
	if (entry->flags & IPVSD_SERVICE_PERSISTENT && other && other != silent)
		keep_template(entry, client, other);
	return other;
}

/* How far the stamp of a flow may lag: its packets keep the template, too. */
static __always_inline __u32 longest_lag(const struct service_entry *entry)
{
	return entry->flags & IPVSD_SERVICE_PERSISTENT ? entry->service->persistence >> 3 : 0xffff;
}
