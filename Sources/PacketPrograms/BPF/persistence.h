/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Persistent services (ipvsadm -p): a client's new connections go to the real server of its last one. As in IPVS with
 * its default expire_quiescent_template=0, that server may have weight 0, but must be neither down nor removed. A
 * server with IPVSD_SERVER_MOVES is treated as with expire_quiescent_template=1: new connections go elsewhere.
 *
 * There are two maps of templates. The first packet of a client makes a row of `templates`, where the row that was not
 * used for the longest time gives way. A packet that proves that the client goes on makes a row of
 * `confirmed_templates`, where no row gives way. So a flood of made-up clients takes no server from a proven client.
 *
 * Any second datagram confirms a client of UDP, even if both datagrams have a false source address. A flood of such
 * pairs fills `confirmed_templates`, until the service's persistence is over. While the map is full, proven clients
 * keep their rows, and the Maglev table decides for newcomers. */
#pragma once

#include "constants.h"
#include "maps.h"
#include "trace.h"

/* by_template, keep_template and confirm_template are global, so that the verifier checks them separately. At each of
 * their calls it would have too many states. Their arguments are scalars, since the stack of a call adds to its
 * caller's, and the limit is 512 bytes. */

/* Whether the real server belongs to the service `id`, and has none of the flags `refused`. The server's row may
 * meanwhile be free, or belong to another service. */
static __always_inline bool takes_clients(__u32 server_id, __u32 id, __u32 refused)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);

	return server && server->service == id && (server->flags & (IPVSD_SERVER_USED | refused)) == IPVSD_SERVER_USED;
}

/* Returns the server of a template; 0 where the template has expired, or the server does not take clients
 * (takes_clients). */
static __always_inline __u32 template_server(const struct ipvsd_template *template, const struct ipvsd_service *service,
					     __u32 id, __u32 refused)
{
	__u32 server_id = template->server;

	if ((__s32)(ticks() - template->stamp) > (__s32)service->persistence)
		return 0;
	return takes_clients(server_id, id, refused) ? server_id : 0;
}

/* Whether the forwarding program would find the template that this packet has just made. The explaining program has not
 * written it. */
static __always_inline bool finds_kept_template(__be32 client, bool has_confirmed)
{
#ifdef IPVSD_EXPLAIN
	return trace.template_kept.server && trace.template_client == client &&
	       (trace.is_template_renewed || !has_confirmed);
#else
	return false;
#endif
}

static __always_inline void trace_template(const struct ipvsd_template *template, bool is_confirmed)
{
	TRACE(if (template) trace.template_found = *template);
	TRACE(if (template) trace.is_template_confirmed = is_confirmed);
}

#define E2BIG 7 /* what an update of a full map returns */

#define UNCONFIRMED 0x10000 /* beside the server's id: the template is not a confirmed one */

/* Returns the server of the client's template, and refreshes the template. Returns 0 where there is no template, or the
 * server has one of the flags `refused`. UNCONFIRMED is set unless the template is a confirmed one. */
__noinline int by_template(__u32 id, __be32 client, __u32 refused)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&services, &id);
	struct ipvsd_template_key key = { .service = id };
	struct ipvsd_template *template;
	__u32 server, unconfirmed = 0;
	bool is_first = true;

	if (!service)
		return 0;
	TRACE(is_first = !trace.template_found.server);
	key.client = client & service->netmask;
	template = bpf_map_lookup_elem(&confirmed_templates, &key);
	server = template ? template_server(template, service, id, refused) : 0;
	if (is_first)
		trace_template(template, true);
	if (finds_kept_template(key.client, server)) {
		TRACE(server = trace.template_kept.server);
		if (!takes_clients(server, id, refused))
			return 0;
	} else if (!server) {
		template = bpf_map_lookup_elem(&templates, &key);
		if (is_first)
			trace_template(template, false);
		server = template ? template_server(template, service, id, refused) : 0;
		unconfirmed = UNCONFIRMED;
	}
	if (!server)
		return 0;
	if (template)
		WRITE(template->stamp = ticks());
	trace_method(IPVSD_METHOD_TEMPLATE, 0);
	return server | unconfirmed;
}

/* Gives the client a template. With `renews`, it replaces the client's confirmed template, if there is one, which is
 * then invalid for the packet. */
__noinline int keep_template(__u32 id, __be32 client, __u32 server, __u32 renews)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&services, &id);
	struct ipvsd_template_key key = { .service = id };
	struct ipvsd_template template = { .server = server, .stamp = ticks() };

	if (!service)
		return 0;
	key.client = client & service->netmask;
	if (!renews || UPDATE(&confirmed_templates, &key, &template, BPF_EXIST))
		WRITE(bpf_map_update_elem(&templates, &key, &template, BPF_ANY));
	TRACE(trace.template_kept = template);
	TRACE(trace.template_client = key.client);
	TRACE(trace.is_template_renewed = renews);
	return server;
}

/* Whether a proven client recently found no room. Newcomers then get no template, and the Maglev table names the same
 * real server for all of a client's connections. */
static __always_inline bool lacks_room_for_templates(void)
{
	return table_load.templates_full && (__s32)(ticks() - table_load.templates_full) <= IPVSD_FULL_TICKS;
}

/* Gives the client a confirmed template for this server. A valid confirmed template stays, and is refreshed. Returns 1
 * where the client has one then. Returns 0 for lack of room, or where the server has one of the flags `left`. */
__noinline int confirm_template(__u32 id, __be32 client, __u32 server, __u32 left)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&services, &id);
	struct ipvsd_template_key key = { .service = id };
	struct ipvsd_template made = { .server = server, .stamp = ticks() }, *template;
	bool lacks_room = lacks_room_for_templates();
	int error;

	if (!service)
		return 0;
	key.client = client & service->netmask;
	template = bpf_map_lookup_elem(&confirmed_templates, &key);
	if (template && template_server(template, service, id, left)) {
		WRITE(template->stamp = made.stamp);
		return 1;
	}
	if (!takes_clients(server, id, left))
		return 0;
	/* The kernel's search for room takes long in a full map. BPF_EXIST only replaces the client's present row. */
	error = UPDATE(&confirmed_templates, &key, &made, lacks_room ? BPF_EXIST : BPF_ANY);
	if (!error)
		return 1;
	/* After any other error the client stays unconfirmed until its next packet. */
	if (error == -E2BIG)
		WRITE(table_load.templates_full = made.stamp);
	return 0;
}

/* Refreshes the client's template by a packet of a flow. `proven` is the server of a proven client; 0: nothing is
 * proven. `left`: IPVSD_SERVER_LEFT_BY_. The function is inlined, as a call would take 32 bytes more of the stack. With
 * them, the path by recorded_server would exceed the 512 bytes that the verifier of 6.1 allows. */
static __always_inline void keep_up_template(__u32 id, __be32 client, __u32 proven, __u32 left)
{
	if (!proven || !confirm_template(id, client, proven, left))
		by_template(id, client, IPVSD_SERVER_OUT);
}
