/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The counts of health checks' packets by the check programs. Their map is not pinned, so that each daemon has its
 * own. */
#pragma once

#include <linux/types.h>

/* The key of the map `check_traffic`: all checks of a real server by one protocol and port. */
struct ipvsd_check_key {
	__u32 server; /* its id */
	__be16 port;  /* 0 for echo requests */
	__u8 protocol;
	__u8 unused;
};

/* The counts of all checks with one key. They wrap around. */
struct ipvsd_check_traffic {
	__u32 sent;     /* SYNs, datagrams and echo requests that left by ipvsd0 */
	__u32 answered; /* awaited SYN-ACKs, and replies to the last echo request, that came in by ipvsd0 */
	__u32 heard;    /* of TCP only: `answered` at the time when a socket of these checks last sent an ACK */
	__u32 echo;     /* identifier and sequence number of the last echo request, in network byte order */
};

_Static_assert(sizeof(struct ipvsd_check_key) == 8, "map key layout");
_Static_assert(sizeof(struct ipvsd_check_traffic) == 16, "map value layout");
