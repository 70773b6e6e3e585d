/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The hashes that the packet programs and the control plane both compute. The contents of tables, and the agreement of
 * directors of all versions, depend on them. */
#pragma once

#include <linux/types.h>

#define IPVSD_INLINE static inline __attribute__((always_inline))

/* 2^32 and 2^64 over the golden ratio (Knuth's multiplicative hash), rounded to a prime and to an odd number. */
#define IPVSD_GOLDEN_RATIO_32 0x9E3779B1u
#define IPVSD_GOLDEN_RATIO_64 0x9E3779B97F4A7C15ull

/* The hash for flows and Maglev tables. All bits of the result depend on all bits of `x`. */
IPVSD_INLINE __u64 ipvsd_mix(__u64 x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	return x;
}

/* `hash` * `size` / 2^32, an index below `size` without a division (Lemire, "Fast Random Integer Generation in an
 * Interval", 2019). */
IPVSD_INLINE __u32 ipvsd_scale(__u32 hash, __u32 size) { return (__u32)((__u64)hash * size >> 32); }

/* The hash of a client for a Maglev table, the same on every director. Address and port are in the host's byte order.
 * Port 0: by the address alone. */
IPVSD_INLINE __u32 ipvsd_maglev_hash(__u32 client, __u16 port) { return (__u32)ipvsd_mix((__u64)client << 16 | port); }

/* The bucket of a client in sh's table: hash_32 of linux/hash.h with 8 bits, as in ip_vs_sh.c. `key` is address plus
 * port in the host's byte order. */
IPVSD_INLINE __u32 ipvsd_sh_bucket(__u32 key) { return key * 0x61C88647u >> 24; }

/* The host part of the outer source of a flow's packets, before the mask. Its multipliers are those of MurmurHash3's
 * 32-bit finalizer. */
IPVSD_INLINE __u32 ipvsd_outer_host(__be32 client, __be16 client_port)
{
	__u32 hash = (client ^ (__u32)client_port * IPVSD_GOLDEN_RATIO_32) * 0x85EBCA6Bu;

	hash ^= hash >> 15;
	hash *= 0xC2B2AE35u;
	hash ^= hash >> 16;
	return hash;
}

/* ---- The filter of VIPs: a bit for each hash, set where a VIP has it ---- */

#define IPVSD_FILTER_WORDS 1024

IPVSD_INLINE __u32 ipvsd_filter_bit(__be32 vip) { return vip * IPVSD_GOLDEN_RATIO_32 >> 16; }

IPVSD_INLINE __u32 ipvsd_filter_word(__be32 vip) { return ipvsd_filter_bit(vip) >> 6 & (IPVSD_FILTER_WORDS - 1); }

/* Whether `address` may be a VIP. Only a false result is certain. */
IPVSD_INLINE __u64 ipvsd_filter_has(const __u64 *filter, __be32 address)
{
	return filter[ipvsd_filter_word(address)] >> (ipvsd_filter_bit(address) & 63) & 1;
}

IPVSD_INLINE void ipvsd_filter_set(__u64 *filter, __be32 vip)
{
	filter[ipvsd_filter_word(vip)] |= 1ull << (ipvsd_filter_bit(vip) & 63);
}

/* ---- The listeners' buckets ---- */

/* Returns the bytes of a struct ipvsd_listener_key as a word, from registers. A load of the whole structure after
 * stores of its fields would be slow. */
IPVSD_INLINE __u64 ipvsd_listener_word(__be32 vip, __be16 port, __u8 protocol)
{
	return vip | (__u64)port << 32 | (__u64)protocol << 48;
}

/* Returns the bucket of a listener. `shift` is 64 less the binary logarithm of the number of buckets. */
IPVSD_INLINE __u32 ipvsd_listener_index(__u64 word, __u32 shift) { return word * IPVSD_GOLDEN_RATIO_64 >> shift; }
