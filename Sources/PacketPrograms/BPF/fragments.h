/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Later fragments of a datagram go to the real server of the first fragment. Only the first fragment has the ports. The
 * real server reassembles the datagram. */
#pragma once

#include "constants.h"
#include "maps.h"
#include "packet.h"
#include "trace.h"

/* The value in place of a server: the first fragment was passed to the director's own stack. */
#define FRAGMENT_PASSED 0xffffffff

static __always_inline struct ipvsd_datagram datagram_of(const struct packet *packet)
{
	return (struct ipvsd_datagram){
		.source = packet->client,
		.destination = packet->vip,
		.id = packet->id,
		.protocol = packet->protocol,
	};
}

static __always_inline void note_first_fragment(const struct packet *packet, struct verdict verdict)
{
	struct ipvsd_datagram datagram = datagram_of(packet);
	struct ipvsd_fragments known = { .server = verdict.server, .stamp = ticks() };

	if (verdict.action == XDP_PASS)
		known.server = FRAGMENT_PASSED;
	if (!known.server)
		return;
	WRITE(bpf_map_update_elem(&fragments, &datagram, &known, BPF_ANY));
}

/* Returns the real server of a later fragment, or FRAGMENT_PASSED; 0 where the first fragment was not seen in time. */
static __always_inline __u32 server_of_fragment(const struct packet *packet)
{
	struct ipvsd_datagram datagram = datagram_of(packet);
	struct ipvsd_fragments *known = bpf_map_lookup_elem(&fragments, &datagram);

	return known && ticks() - known->stamp <= IPVSD_FRAGMENT_TICKS ? known->server : 0;
}
