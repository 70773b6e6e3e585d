/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The filter of the capture programs, and their records. Fields of a `__be` type are in network byte order. Programs
 * and records do not outlive the capturing process. */
#pragma once

#include <linux/types.h>

/* The largest captured length of a frame. Its bytes before and after the director have to fit in a per-CPU row, which
 * is 32 KiB at most. */
#define IPVSD_CAPTURE_SNAPLEN 16000

#define IPVSD_CAPTURE_IN 1u  /* the frame as it came in */
#define IPVSD_CAPTURE_OUT 2u /* the frame as it left: encapsulated, or the director's answer */

/* The filter, in .rodata. An address, mask, port, protocol or `counters` of 0 matches all packets. */
struct ipvsd_capture_filter {
	__u64 counters; /* bit n: packets that counter n of enum ipvsd_counter counted; one of the bits is enough */
	__be32 client;
	__be32 client_mask;
	__be32 vip;
	__be32 server; /* outer destination */
	__be16 client_port;
	__be16 port; /* of the VIP */
	__u8 protocol;
	__u8 server_is_local; /* `server` is the director itself: packets for it are not encapsulated */
	__u8 directions;
	__u8 reserved;
	__u32 snaplen;
	__u32 reserved2;
};

/* A packet and its end. `before_captured` bytes of the received frame follow, then `after_captured` of the sent one.
 * Times are CLOCK_MONOTONIC in ns. */
struct ipvsd_captured {
	__u64 arrived;
	__u64 left;
	__u64 counters; /* bit n: counter n of enum ipvsd_counter counted the packet */
	__u32 ingress;  /* ifindex */
	__u32 verdict;  /* XDP_ */
	__be32 server;  /* outer destination; 0: the packet was not encapsulated */
	__u32 before_length;
	__u32 before_captured;
	__u32 after_length; /* 0: the program sent no frame */
	__u32 after_captured;
	__u32 lost; /* packets of the ingress interface that found no room in the ring, so far */
};

_Static_assert(sizeof(struct ipvsd_capture_filter) == 40, ".rodata layout");
_Static_assert(sizeof(struct ipvsd_captured) == 56, "record layout");
