/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The counts of health checks by the check programs. These maps are not pinned, and each daemon has its own. */
#pragma once

#include <linux/types.h>

/* The checks of one kind of one real server. */
struct ipvsd_check_key {
	__u32 server; /* its id */
	__be16 port;  /* 0 of echo requests */
	__u8 protocol;
	__u8 unused;
};

/* The counts of all checks with one key. They wrap around. */
struct ipvsd_check_traffic {
	__u32 sent; /* SYNs, datagrams and echo requests that left by ipvsd0 */
	__u32 answered; /* SYN-ACKs for a socket that waited for one, and replies to the last echo request, that came in there */
	__u32 heard; /* `answered` when a socket of these checks last acknowledged something; of TCP only */
	__u32 echo;  /* identifier and sequence number of the last echo request, in network byte order */
};

_Static_assert(sizeof(struct ipvsd_check_key) == 8, "map key layout");
_Static_assert(sizeof(struct ipvsd_check_traffic) == 16, "map value layout");
