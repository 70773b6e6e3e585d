// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The explaining program is the packet program, compiled to trace its decisions and to change nothing. It runs on the
 * headers of a packet, whose IP header has the whole packet's length. It reads the maps of the program that
 * forwards. */
#define IPVSD_EXPLAIN
#include "director.bpf.c"

SEC("xdp")
int explain(struct xdp_md *ctx)
{
	__u32 now = ticks();

	trace = (struct ipvsd_trace){ .tick = now, .is_unattended = daemon_absent(now) };
	return direct(ctx);
}
