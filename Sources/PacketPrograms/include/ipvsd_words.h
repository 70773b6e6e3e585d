/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The words of rows that hold several fields each. One store or compare-and-swap changes all fields of a word. */
#pragma once

#include "ipvsd_abi.h"
#include "ipvsd_hash.h"

/* ---- Flow table ---- */

/* key: client address __be32 << 32 | client port __be16 << 16 | destination, the number of the VIP and the protocol
 * (ipvsd_listener_value). */
IPVSD_INLINE __u64 ipvsd_flow_key(__be32 client, __be16 client_port, __u16 destination)
{
	return (__u64)client << 32 | (__u64)client_port << 16 | destination;
}

IPVSD_INLINE __be32 ipvsd_flow_client(__u64 key) { return key >> 32; }
IPVSD_INLINE __be16 ipvsd_flow_client_port(__u64 key) { return key >> 16 & 0xffff; }
IPVSD_INLINE __u16 ipvsd_flow_destination(__u64 key) { return key & 0xffff; }
IPVSD_INLINE __u64 ipvsd_flow_key_with(__u64 key, __u16 destination) { return (key & ~0xffffull) | destination; }

/* value: stamp (ticks) << 48 | destination port __be16 << 32 | server id << 16 | state << 12 | tag; 0 is free. */
#define IPVSD_FLOW_STAMP_SHIFT 48
#define IPVSD_FLOW_PORT_SHIFT 32
#define IPVSD_FLOW_SERVER_SHIFT 16
#define IPVSD_FLOW_STATE_SHIFT 12
#define IPVSD_FLOW_STAMP_MASK 0xffff000000000000ull
#define IPVSD_FLOW_PORT_MASK 0x0000ffff00000000ull
#define IPVSD_FLOW_SERVER_MASK 0x00000000ffff0000ull
#define IPVSD_FLOW_STATE_MASK 0x000000000000f000ull
#define IPVSD_FLOW_TAG_MASK 0x0000000000000fffull
/* The bits of a value that must be equal for a hit, besides the key. */
#define IPVSD_FLOW_IDENTITY_MASK (IPVSD_FLOW_PORT_MASK | IPVSD_FLOW_TAG_MASK)

IPVSD_INLINE __u16 ipvsd_flow_stamp(__u64 value) { return value >> IPVSD_FLOW_STAMP_SHIFT; }
IPVSD_INLINE __be16 ipvsd_flow_port(__u64 value) { return value >> IPVSD_FLOW_PORT_SHIFT & 0xffff; }
IPVSD_INLINE __u32 ipvsd_flow_server(__u64 value) { return value >> IPVSD_FLOW_SERVER_SHIFT & 0xffff; }
IPVSD_INLINE __u32 ipvsd_flow_state(__u64 value) { return value >> IPVSD_FLOW_STATE_SHIFT & 0xf; }

/* The parts of a flow's hash. The lowest bits name the flow's bucket. */
#define IPVSD_HASH_SECOND_SHIFT 25 /* the bits from this one on name the second bucket */
#define IPVSD_HASH_HALF_SHIFT 49   /* bit 51: the half, 0 or IPVSD_HALF */
#define IPVSD_HASH_TAG_SHIFT 52    /* the uppermost bits: the tag */

/* Destination port and tag, at their places in the value. */
IPVSD_INLINE __u64 ipvsd_flow_identity(__be16 port, __u64 hash)
{
	return (__u64)port << IPVSD_FLOW_PORT_SHIFT | (hash >> IPVSD_HASH_TAG_SHIFT & IPVSD_FLOW_TAG_MASK);
}

IPVSD_INLINE __u64 ipvsd_flow_with_state(__u64 value, __u32 state, __u16 now)
{
	return (value & ~(IPVSD_FLOW_STATE_MASK | IPVSD_FLOW_STAMP_MASK)) | (__u64)state << IPVSD_FLOW_STATE_SHIFT |
	       (__u64)now << IPVSD_FLOW_STAMP_SHIFT;
}

IPVSD_INLINE __u64 ipvsd_flow_value(__u64 identity, __u32 server, __u32 state, __u16 now)
{
	return ipvsd_flow_with_state(identity | (__u64)server << IPVSD_FLOW_SERVER_SHIFT, state, now);
}

/* The place of a flow: its bucket, its second bucket, and the first way of the half that it tries first. `mask` is the
 * number of buckets less one. */
IPVSD_INLINE __u64 ipvsd_flow_hash(__u64 key, __u64 seed) { return ipvsd_mix(key ^ seed); }
IPVSD_INLINE __u32 ipvsd_flow_bucket(__u64 hash, __u32 mask) { return hash & mask; }
IPVSD_INLINE __u32 ipvsd_flow_second_bucket(__u64 hash, __u32 mask) { return hash >> IPVSD_HASH_SECOND_SHIFT & mask; }
IPVSD_INLINE __u32 ipvsd_flow_half(__u64 hash) { return hash >> IPVSD_HASH_HALF_SHIFT & IPVSD_HALF; }

/* The largest number of ticks by which another CPU's stamp may be ahead of a `now` that was read before. */
#define IPVSD_STAMP_AHEAD 16

IPVSD_INLINE __u16 ipvsd_stamp_age(__u16 stamp, __u16 now)
{
	__u16 age = now - stamp;

	return age > 0xffff - IPVSD_STAMP_AHEAD ? 0 : age;
}

/* Returns the stamp of `now`, which is 1 for tick 0, since the stamp 0 stands for "never". */
IPVSD_INLINE __u16 ipvsd_stamp_of_now(__u16 now) { return now ? now : 1; }

/* The row of a bucket's marks in the map `overflows`, and their place in that row. */
IPVSD_INLINE __u32 ipvsd_overflow_row(__u32 bucket) { return bucket / IPVSD_OVERFLOW_BUCKETS; }
IPVSD_INLINE __u32 ipvsd_overflow_place(__u32 bucket) { return bucket % IPVSD_OVERFLOW_BUCKETS; }

/* Whether a connection in this state counts as active, as in IPVS's tcp_state_active_table. */
IPVSD_INLINE int ipvsd_state_is_active(__u32 state)
{
	return state == IPVSD_STATE_SYN_RECV || state == IPVSD_STATE_ESTABLISHED || state == IPVSD_STATE_BARE_ACK;
}

IPVSD_INLINE int ipvsd_state_is_closing(__u32 state)
{
	return state == IPVSD_STATE_FIN_WAIT || state == IPVSD_STATE_TIME_WAIT || state == IPVSD_STATE_CLOSE;
}

/* The rank of an entry, by which it gives way to a new flow: the highest rank first. Entries younger than
 * IPVSD_YOUNG_TICKS never give way, as the key of a fresh entry may not be stored yet. Without RANK_BARE_ACK and
 * RANK_ONE_DATAGRAM, a spoofed pair of SYN and ACK, or a spoofed datagram, would hold an entry for minutes. */
enum ipvsd_eviction_rank {
	IPVSD_RANK_NEVER,
	IPVSD_RANK_BARE_ACK,
	IPVSD_RANK_ONE_DATAGRAM,
	IPVSD_RANK_CLOSED,
	IPVSD_RANK_HALF_OPEN,
	IPVSD_RANK_FREE, /* free or expired: no flow is lost */
};

#define IPVSD_YOUNG_TICKS 2

/* The rank of an entry that has neither expired nor is free. */
IPVSD_INLINE __u32 ipvsd_flow_rank(__u64 value, __u16 now)
{
	if (ipvsd_stamp_age(ipvsd_flow_stamp(value), now) < IPVSD_YOUNG_TICKS)
		return IPVSD_RANK_NEVER;
	switch (ipvsd_flow_state(value)) {
	case IPVSD_STATE_SYN_RECV:
		return IPVSD_RANK_HALF_OPEN;
	case IPVSD_STATE_TIME_WAIT:
	case IPVSD_STATE_CLOSE:
		return IPVSD_RANK_CLOSED;
	case IPVSD_STATE_ONE_DATAGRAM:
		return IPVSD_RANK_ONE_DATAGRAM;
	case IPVSD_STATE_BARE_ACK:
		return IPVSD_RANK_BARE_ACK;
	}
	return IPVSD_RANK_NEVER;
}

/* ---- Slices of the slots: scheduler and its flags << 56 | size << 32 | first slot ---- */

#define IPVSD_SLICE_SCHEDULER_SHIFT 56
#define IPVSD_SLICE_SIZE_SHIFT 32
#define IPVSD_SLICE_SIZE_MASK 0xffffffu
#define IPVSD_SCHEDULER_FLAGS (IPVSD_SCHEDULER_BY_PORT | IPVSD_SCHEDULER_FALLBACK)

IPVSD_INLINE __u64 ipvsd_slice(__u32 first, __u32 size, __u32 scheduler)
{
	return (__u64)scheduler << IPVSD_SLICE_SCHEDULER_SHIFT | (__u64)size << IPVSD_SLICE_SIZE_SHIFT | first;
}

IPVSD_INLINE __u32 ipvsd_slice_first(__u64 slice) { return slice; }
IPVSD_INLINE __u32 ipvsd_slice_size(__u64 slice) { return slice >> IPVSD_SLICE_SIZE_SHIFT & IPVSD_SLICE_SIZE_MASK; }
IPVSD_INLINE __u32 ipvsd_slice_flags(__u64 slice)
{
	return slice >> IPVSD_SLICE_SCHEDULER_SHIFT & IPVSD_SCHEDULER_FLAGS;
}
IPVSD_INLINE __u32 ipvsd_slice_scheduler(__u64 slice)
{
	return slice >> IPVSD_SLICE_SCHEDULER_SHIFT & ~IPVSD_SCHEDULER_FLAGS;
}

/* Whether the scheduler is sh or mh, which make the same choice for a client on every director. A packet then finds its
 * server without an entry. */
IPVSD_INLINE _Bool ipvsd_scheduler_is_hash(__u32 scheduler) { return scheduler >= IPVSD_SCHEDULER_SH; }

/* ---- Words of rows ---- */

/* The first eight bytes of struct ipvsd_server. */
IPVSD_INLINE __u64 ipvsd_server_word(__u32 path, __u16 weight, __u16 flags)
{
	return path | (__u64)weight << 32 | (__u64)flags << 48;
}

/* upper_threshold and lower_threshold of struct ipvsd_server. */
IPVSD_INLINE __u64 ipvsd_threshold_word(__u32 upper, __u32 lower) { return upper | (__u64)lower << 32; }

/* persistence and netmask of struct ipvsd_service. */
IPVSD_INLINE __u64 ipvsd_persistence_word(__u32 ticks, __be32 netmask) { return ticks | (__u64)netmask << 32; }

/* A MAC in own_mac of struct ipvsd_settings, the first byte lowest. The complement stands for a macvlan without a
 * VIP. */
IPVSD_INLINE __u64 ipvsd_mac_word(const __u8 *mac)
{
	return mac[0] | (__u64)mac[1] << 8 | (__u64)mac[2] << 16 | (__u64)mac[3] << 24 | (__u64)mac[4] << 32 |
	       (__u64)mac[5] << 40;
}

IPVSD_INLINE _Bool ipvsd_mac_is_complement(__u64 word) { return word >> 48; }

/* Writes the six bytes of a MAC to `mac`. `word` must not be a complement. */
IPVSD_INLINE void ipvsd_mac_bytes(__u64 word, __u8 *mac)
{
	for (int i = 0; i < 6; i++)
		mac[i] = word >> 8 * i;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "fields of words are addressed by shifts, and rows by their bytes");
