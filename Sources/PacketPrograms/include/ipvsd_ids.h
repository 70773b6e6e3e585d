/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The rules by which outer packets get their identifications. An outer packet without DF may be fragmented on its way.
 * The real server reassembles the fragments by source, destination, protocol and identification. If fragments of one
 * packet still wait, fragments of a second packet with the same identification would be mixed with them.
 *
 * Each next hop, and so each destination, has a counter in its row of outer_ids. Each CPU takes IPVSD_ID_BLOCK numbers
 * from the counter at once. The lower 16 bits of a number are the identification. The identification 0 is left out, as
 * some stacks take it for "none".
 *
 * No identification is used again within 32,768 packets to one destination. Where the counter is more than
 * IPVSD_ID_REACH ahead of a CPU's next number, this CPU takes another block. So between a number and the one 65,536
 * later, the counter gives out more than 49,152 numbers. At worst a CPU leaves three blocks of them unused. With 86
 * CPUs that take turns in the worst order, 32,768 numbers are left. A change of the path takes IPVSD_ID_LEAD of them,
 * and a growth of the table IPVSD_ID_GROWTH_LEAD.
 *
 * 16 bits allow no more (RFC 6864 section 4.3, RFC 4963). Linux waits 30 s for fragments (net.ipv4.ipfrag_time). From
 * 1,092 packets without DF a second to one destination on, fragments of two packets with one identification may meet.
 * Then only the checksums of the inner packets reveal the mixture. Packets with DF are atomic (RFC 6864 section 4.1),
 * and have the identification 0. */
#pragma once

#define IPVSD_ID_BLOCK 64u
#define IPVSD_ID_REACH 16384u

/* The lead of the counter in a next hop's new row over the former row's counter. Packets may still take up to this many
 * numbers from the former row. The lead is a multiple of IPVSD_ID_BLOCK, as every counter is. */
#define IPVSD_ID_LEAD 4096u

/* The lead of all counters in a larger table over those in the table that it replaces. The previous program uses the
 * former table until the last interface has the new program. This lead, too, is a multiple of IPVSD_ID_BLOCK. */
#define IPVSD_ID_GROWTH_LEAD 16384u
