// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The director's packet program once more, which says what it would do and changes nothing. It is run on the headers
 * of a packet, with the length of the whole one in them, over the maps of the program that forwards. */
#define IPVSD_EXPLAIN
#include "director.bpf.c"

SEC("xdp")
int explain(struct xdp_md *ctx)
{
	__u32 now = ticks();

	trace = (struct ipvsd_trace){ .tick = now, .is_unattended = daemon_absent(now) };
	return direct(ctx);
}
