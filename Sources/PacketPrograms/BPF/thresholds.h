/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The upper and lower thresholds of real servers, as in ip_vs_conn.c. A server is overloaded from the upper one on,
 * until its connections are fewer than the lower one. Only new flows depend on it. */
#pragma once

#include "maps.h"
#include "trace.h"

static __always_inline bool is_overloaded(const struct ipvsd_server *server, const struct ipvsd_conn_counts *counts)
{
	__u32 connections = counts->active + counts->inactive;

	return server->upper_threshold && (connections >= server->upper_threshold ||
					   (server->overloaded && connections >= server->lower_threshold));
}

/* Updates `overloaded` after a connection was added. Between two additions connections only end, so that this function
 * and `is_overloaded` together miss no crossing of a threshold. */
static __always_inline void note_connection(__u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	struct ipvsd_conn_counts *counts;
	__u32 connections;

	if (!server || !server->upper_threshold)
		return;
	counts = bpf_map_lookup_elem(&conn_counts, &server_id);
	if (!counts)
		return;
	connections = counts->active + counts->inactive;
	if (connections >= server->upper_threshold)
		WRITE(server->overloaded = 1);
	else if (connections <= server->lower_threshold && server->overloaded)
		WRITE(server->overloaded = 0); /* without this connection, they were fewer than the lower one */
}

static __always_inline bool exceeds_threshold(const struct ipvsd_server *server, __u32 server_id)
{
	struct ipvsd_conn_counts *counts;

	if (!server->upper_threshold)
		return false;
	counts = bpf_map_lookup_elem(&conn_counts, &server_id);
	return counts && is_overloaded(server, counts);
}

static __always_inline bool is_over_threshold(__u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);

	return server && exceeds_threshold(server, server_id);
}

static __always_inline bool server_has(__u32 server_id, __u32 flags)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);

	return !server || server->flags & flags;
}

static __always_inline bool has_weight(__u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);

	return server && server->weight;
}

static __always_inline bool is_available(__u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);

	return server && server->weight && !exceeds_threshold(server, server_id);
}
