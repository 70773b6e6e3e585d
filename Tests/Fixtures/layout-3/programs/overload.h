/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Upper and lower thresholds of real servers, as ip_vs_conn.c has them: a server is overloaded from the upper one on
 * and until its connections are fewer than the lower one. Only new flows ask. */
#pragma once

#include "maps.h"

static __always_inline int is_overloaded(const struct ipvsd_server *server, const struct ipvsd_load *load)
{
	__u32 connections = load->active + load->inactive;

	return server->upper_threshold &&
	       (connections >= server->upper_threshold ||
		(server->overloaded && connections >= server->lower_threshold));
}

/* A connection was added. Between two additions connections only end, so that this and `is_overloaded` together miss
 * no time at which a threshold was passed. */
static __always_inline void note_connection(__u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	struct ipvsd_load *load;
	__u32 connections;

	if (!server || !server->upper_threshold)
		return;
	load = bpf_map_lookup_elem(&loads, &server_id);
	if (!load)
		return;
	connections = load->active + load->inactive;
	if (connections >= server->upper_threshold)
		server->overloaded = 1;
	else if (connections <= server->lower_threshold && server->overloaded)
		server->overloaded = 0; /* it was below before this one */
}

static __always_inline int exceeds_threshold(const struct ipvsd_server *server, __u32 server_id)
{
	struct ipvsd_load *load;

	if (!server->upper_threshold)
		return 0;
	load = bpf_map_lookup_elem(&loads, &server_id);
	return load && is_overloaded(server, load);
}

static __always_inline int is_over_threshold(__u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);

	return server && exceeds_threshold(server, server_id);
}

static __always_inline int server_has(__u32 server_id, __u32 flags)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);

	return !server || server->flags & flags;
}

static __always_inline int has_weight(__u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);

	return server && server->weight;
}

static __always_inline int is_available(__u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);

	return server && server->weight && !exceeds_threshold(server, server_id);
}
