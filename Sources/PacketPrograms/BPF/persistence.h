/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Persistent services (ipvsadm -p): a client's new connections go where its last one went. As in IPVS with its
 * default expire_quiescent_template=0, also to a real server of weight 0, but not to one that is out; a server that
 * MOVES is as with expire_quiescent_template=1. */
#pragma once

#include "constants.h"
#include "maps.h"
#include "trace.h"

/* What follows are global functions, which the verifier takes by themselves: at each of their calls again they would be
 * too much for it. Scalars alone go in: the stack of a call comes on top of its caller's, and 512 bytes are all. */

static __always_inline bool is_template_kept(__be32 client)
{
#ifdef IPVSD_EXPLAIN
	return trace.template_kept.server && trace.template_client == client;
#else
	return false;
#endif
}

/* The server of the client's template, 0 where there is none, or it is one of `refused`. */
__noinline int by_template(__u32 id, __be32 client, __u32 refused)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&services, &id);
	struct ipvsd_template_key key = { .service = id };
	struct ipvsd_template *template;
	struct ipvsd_server *server;
	__u32 now = ticks(), server_id;

	if (!service)
		return 0;
	key.client = client & service->netmask;
	template = bpf_map_lookup_elem(&templates, &key);
	TRACE(if (template) trace.template_found = *template);
	if (is_template_kept(key.client)) {
		/* The forwarding program finds the one that this packet left a moment ago. */
		TRACE(server_id = trace.template_kept.server);
	} else {
		if (!template || (__s32)(now - template->stamp) > (__s32)service->persistence)
			return 0;
		server_id = template->server;
	}
	server = bpf_map_lookup_elem(&servers, &server_id);
	/* The row may be nobody's by now, or another service's. */
	if (!server || server->service != id || (server->flags & (IPVSD_SERVER_USED | refused)) != IPVSD_SERVER_USED)
		return 0;
	WRITE(template->stamp = now);
	trace_method(IPVSD_METHOD_TEMPLATE, 0);
	return server_id;
}

__noinline int keep_template(__u32 id, __be32 client, __u32 server)
{
	struct ipvsd_service *service = bpf_map_lookup_elem(&services, &id);
	struct ipvsd_template_key key = { .service = id };
	struct ipvsd_template template = { .server = server, .stamp = ticks() };

	if (!service)
		return 0;
	key.client = client & service->netmask;
	WRITE(bpf_map_update_elem(&templates, &key, &template, BPF_ANY));
	TRACE(trace.template_kept = template);
	TRACE(trace.template_client = key.client);
	return server;
}
