/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The identification of an outer packet without DF, by the rules of ipvsd_ids.h. */
#pragma once

#include "ipvsd_ids.h"
#include "maps.h"
#include "packet.h"
#include "trace.h"

/* Returns the next identification for packets to a next hop. It is never 0. */
static __always_inline __be16 next_outer_id(__u32 hop_id)
{
	__u32 *counter = bpf_map_lookup_elem(&outer_ids, &hop_id);
	__u32 *next = bpf_map_lookup_elem(&id_blocks, &hop_id);
	__u32 number;

	/* For the verifier only, as both maps have a row for each next hop. */
	if (!counter || !next)
		return bpf_htons(bpf_get_prandom_u32() | 1);
	number = *next;
	if (number % IPVSD_ID_BLOCK == 0 || *(volatile __u32 *)counter - number > IPVSD_ID_REACH)
		number = FETCH_AND_ADD(counter, IPVSD_ID_BLOCK);
	if (!(number & 0xffff))
		number++;
	WRITE(*next = number + 1);
	return bpf_htons(number & 0xffff);
}

/* Sets the identification of a header that was written with 0, to the next one of the next hop. This is not in
 * write_ip, so that packets with DF do not pay for the registers of a call. */
static __always_inline void set_outer_id(struct iphdr *outer, __u32 server_id)
{
	struct ipvsd_server *server = bpf_map_lookup_elem(&servers, &server_id);
	__be16 id = next_outer_id(server ? *(volatile __u32 *)&server->next_hop : 0);
	/* RFC 1624: ~(~checksum + id). */
	__u32 sum = (__u16)~outer->check + id;

	outer->id = id;
	outer->check = ~((sum & 0xffff) + (sum >> 16));
}
