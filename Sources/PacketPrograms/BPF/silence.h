/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Real servers that leave SYNs unanswered: the counts, and another server for a repeated SYN. */
#pragma once

#include "flows.h"
#include "maps.h"
#include "packet.h"
#include "schedule.h"
#include "trace.h"

/* Whether a server is silent. It then has settings.silent_after unanswered SYNs or more, and no ACK has completed a
 * handshake for IPVSD_SILENT_TICKS. */
static __always_inline bool is_silent(const struct packet *packet, const struct flow_reference *flow, __u32 server_id)
{
	struct ipvsd_conn_counts *counts = bpf_map_lookup_elem(&conn_counts, &server_id);

	return counts && settings.silent_after && counts->unanswered >= settings.silent_after &&
	       (__u16)(flow->now - counts->completed) >= IPVSD_SILENT_TICKS;
}

static __always_inline void count_unanswered(__u32 server_id)
{
	struct ipvsd_conn_counts *counts = bpf_map_lookup_elem(&conn_counts, &server_id);

	if (counts)
		WRITE(__sync_fetch_and_add(&counts->unanswered, 1));
}

static __always_inline void count_completed(const struct flow_reference *flow, __u32 server_id)
{
	struct ipvsd_conn_counts *counts = bpf_map_lookup_elem(&conn_counts, &server_id);

	if (!counts)
		return;
	if (counts->unanswered)
		WRITE(counts->unanswered = 0);
	WRITE(counts->completed = flow->now);
}

/* Returns another server for a SYN that is repeated to a silent server; 0 if there is no other, or the server is not
 * silent. */
static __always_inline __u32 other_than_silent(const struct packet *packet, const struct service_entry *entry,
					       const struct flow_reference *flow, __u32 server)
{
	return is_silent(packet, flow, server) ? select_excluding(entry, packet->client, packet->client_port, server)
					       : 0;
}
