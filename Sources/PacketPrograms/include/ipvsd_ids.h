/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How the identifications of outer packets are given out. An outer packet without DF may be fragmented on its way, and the
 * real server puts its fragments together by source, destination, protocol and identification: a second packet with
 * an identification of which fragments still wait would be mixed with the first.
 *
 * Each next hop has a row, and so each destination a counter, from which each CPU takes IPVSD_ID_BLOCK numbers at once.
 * The identification is the lower 16 bits of a number; that of 0 is left out, as some stacks take it for "none".
 *
 * None is used again within 32,768 packets to one destination: where the counter is more than IPVSD_ID_REACH ahead of
 * a CPU's next number, this CPU takes another block. Between a number and the one 65,536 later the counter thus gives out
 * more than 49,152. At worst a CPU loses three blocks of them, so that 32,768 are left for 86 CPUs that take turns in
 * the worst order. A path that changes costs IPVSD_ID_LEAD of them, a table that grows IPVSD_ID_GROWTH_LEAD.
 *
 * More than that 16 bits do not give (RFC 6864 section 4.3, RFC 4963): Linux waits 30 s for fragments
 * (net.ipv4.ipfrag_time), so that identifications may meet from 1,092 packets without DF a second to one destination on.
 * Then only the checksums of the inner packets tell. Packets with DF are atomic (RFC 6864 section 4.1): theirs is 0. */
#pragma once

#define IPVSD_ID_BLOCK 64u
#define IPVSD_ID_REACH 16384u

/* The lead of a next hop's new row over the former row, as that many packets may still use the former one. A multiple
 * of IPVSD_ID_BLOCK, as every counter is. */
#define IPVSD_ID_LEAD 4096u

/* The lead where the table grows. The previous program uses the copied rows until the last interface has the new
 * program. Also a multiple of IPVSD_ID_BLOCK. */
#define IPVSD_ID_GROWTH_LEAD 16384u
