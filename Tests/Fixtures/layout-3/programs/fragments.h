/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Fragments of a datagram follow the first one, which alone has the ports. They stay fragments: the real server puts
 * them together. */
#pragma once

#include "flows.h"
#include "maps.h"
#include "packet.h"

/* In place of a server: the first one was passed to the director's own stack. */
#define PASSED 0xffffffff

static __always_inline struct ipvsd_datagram datagram_of(const struct packet *packet)
{
	return (struct ipvsd_datagram){
		.source = packet->client, .destination = packet->vip, .id = packet->id, .protocol = packet->protocol,
	};
}

static __always_inline void note_first_fragment(const struct packet *packet, __u32 server)
{
	struct ipvsd_datagram datagram = datagram_of(packet);
	struct ipvsd_fragments known = { .server = server, .stamp = ticks() };

	bpf_map_update_elem(&fragments, &datagram, &known, BPF_ANY);
}

/* 0 where the first one was not seen in time. */
static __always_inline __u32 server_of_fragment(const struct packet *packet)
{
	struct ipvsd_datagram datagram = datagram_of(packet);
	struct ipvsd_fragments *known = bpf_map_lookup_elem(&fragments, &datagram);

	return known && ticks() - known->stamp <= IPVSD_FRAGMENT_TICKS ? known->server : 0;
}
