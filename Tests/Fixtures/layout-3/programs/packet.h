/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Headers, checksums and the counted ends of a packet's way. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ipvsd_abi.h"

#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

/* linux/icmp.h does not compile for this target. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 unused;
	__be16 mtu; /* of type 3 code 4, RFC 1191 section 4 */
};

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_PORT_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP_ECHO_REQUEST 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12

struct vlan_tag {
	__be16 control;
	__be16 protocol;
};

/* What is known of a packet for a VIP. Offsets, not pointers: they survive head and tail adjustments. */
struct packet {
	struct xdp_md *ctx;
	struct ipvsd_counters *counters;
	__u32 frame;         /* length of the whole frame */
	__u32 l3;            /* offset of the IP header: 14, 18 or 22 */
	__u32 header_length; /* of IP, in bytes */
	__u32 length;        /* IP's total length */
	__be32 client;
	__be32 vip;
	__be16 client_port;
	__be16 port;
	__u8 protocol;
	__u8 tos;
	__be16 fragment;  /* IP's flags and offset */
	__be16 id;        /* IP's identification */
	__u8 is_icmp_error;
};

/* In 64 bits: the verifier allows no other difference of packet pointers, and the compiler would make one. */
static __always_inline __u64 frame_length(const void *data, const void *data_end)
{
	__u64 start = (__u64)data, end = (__u64)data_end;

	asm volatile("%0 -= %1" : "+r"(end) : "r"(start));
	return end;
}

/* The header is declared packed: its fields would be loaded byte by byte. */
static __always_inline __be16 ether_type(const struct ethhdr *ethernet)
{
	return *(const __be16 *)((const void *)ethernet + 12);
}

static __always_inline int is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* RFC 1122 section 3.2.1.3, RFC 1812 section 5.3.7: no packet has such a source; an answer would go to many, or back
 * to us. 240/4 is in use here and there, and Linux takes it. */
static __always_inline int is_martian(__be32 source)
{
	__u8 network = bpf_ntohl(source) >> 24;

	return network == 0 || network == 127 || (network & 0xf0) == 224 || source == 0xffffffff;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Writes a 20-byte IPv4 header, checksum included. */
static __always_inline void write_ip(void *at, __u8 tos, __u32 length, __be16 id, __be16 fragment, __u8 protocol,
				     __be32 source, __be32 destination)
{
	__u32 *word = at;
	__u32 first = bpf_htonl(0x45000000 | (__u32)tos << 16 | (length & 0xffff));
	__u32 second = (__u32)fragment << 16 | id;
	__u32 third = bpf_htonl(64u << 24 | (__u32)protocol << 16);
	__u64 sum = (__u64)first + second + third + source + destination;
	/* Below 5 * 2^32: its 16-bit words are 0x20002 together at most, and folded once 0x10000. */
	__u32 folded = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	__u16 checksum;

	folded = (folded & 0xffff) + (folded >> 16);
	checksum = ~(folded + (folded >> 16));

	word[0] = first;
	word[1] = second;
	word[2] = third | (__u32)checksum << 16;
	word[3] = source;
	word[4] = destination;
}

static __always_inline void count(struct packet *packet, enum ipvsd_counter counter)
{
	packet->counters->count[counter]++;
}

static __always_inline int drop(struct packet *packet, enum ipvsd_counter reason)
{
	count(packet, reason);
	return XDP_DROP;
}

static __always_inline int pass(struct packet *packet, enum ipvsd_counter reason)
{
	count(packet, reason);
	return XDP_PASS;
}
