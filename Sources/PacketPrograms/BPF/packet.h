/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Headers, checksums, and the ends of a packet's way, which are counted. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "ipvsd_words.h"
#include "trace.h"

#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff
#define IP_IHL 0x0f   /* of the first byte: words of the header */
#define IP_PLAIN 0x45 /* the first byte: version 4, no options */
#define IP_LEN 20     /* without options */
#define IP_MAX_LEN 60 /* with options */
#define PORTS_LEN 8   /* bytes of a transport header that ICMP errors quote (RFC 792) */
/* RFC 9293 section 3.1. */
#define TCP_FLAGS 13 /* the byte of the header with the flags */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_MIN_DOFF 5 /* words of a header without options */
#define VLAN_TAGS 2    /* most tags of a frame */
#define LONGEST_FRAME (0xffff + sizeof(struct ethhdr) + VLAN_TAGS * sizeof(struct vlan_tag))

/* linux/icmp.h does not compile for this target. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 unused;
	__be16 mtu; /* only in errors of type 3 and code 4 (RFC 1191 section 4) */
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

/* The facts about a packet for a VIP. Offsets, unlike pointers, survive changes of the head and tail. */
struct packet {
	struct xdp_md *ctx;
	struct ipvsd_counters *counters;
	struct ipvsd_statistics *total; /* its real server's row where the packet began a connection, else null */
	__u32 frame_len;                /* of the whole frame */
	__u32 l3;                       /* offset of the IP header: 14, 18 or 22 */
	__u32 header_length;            /* of IP, in bytes */
	__u32 tot_len;                  /* of IP */
	__be32 client;
	__be32 vip;
	__be16 client_port;
	__be16 port;
	__u8 protocol;
	__u8 tos;
	__be16 frag_off; /* IP's flags and offset */
	__be16 id;       /* IP's identification */
	bool is_icmp_error;
};

/* The fate of a packet: it goes to a real server, or an XDP action ends it here. */
struct verdict {
	int action;   /* XDP_, or TO_SERVER */
	__u32 server; /* the id; 0: there is no server */
};

#define TO_SERVER (-1)

static __always_inline struct verdict to_server(__u32 server)
{
	return (struct verdict){ .action = TO_SERVER, .server = server };
}

static __always_inline struct verdict end_by(int action) { return (struct verdict){ .action = action }; }

/* Returns the number of bytes from `data` on. The assembly subtracts 64-bit numbers, as the verifier allows no other
 * difference of packet pointers. The compiler would make another one. */
static __always_inline __u64 present_length(const void *data, const void *data_end)
{
	__u64 start = (__u64)data, end = (__u64)data_end;

	asm volatile("%0 -= %1" : "+r"(end) : "r"(start));
	return end;
}

/* Returns the length of the whole frame. The explaining program has only the headers, and returns the longest length,
 * so that the length in the IP header always fits. */
static __always_inline __u64 frame_length(const void *data, const void *data_end)
{
	return EXPLAINS ? LONGEST_FRAME : present_length(data, data_end);
}

/* Returns the frame's type by one load. struct ethhdr is packed, so that the compiler would load its field byte by
 * byte. */
static __always_inline __be16 ether_type(const struct ethhdr *ethernet)
{
	return *(const __be16 *)((const void *)ethernet + 2 * ETH_ALEN);
}

static __always_inline bool is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* Reads what an IPv4 header says of its packet. */
static __always_inline void read_ipv4(struct packet *packet, const struct iphdr *ip)
{
	packet->header_length = ip->ihl * 4;
	packet->tot_len = bpf_ntohs(ip->tot_len);
	packet->client = ip->saddr;
	packet->vip = ip->daddr;
	packet->protocol = ip->protocol;
	packet->tos = ip->tos;
	packet->frag_off = ip->frag_off;
	packet->id = ip->id;
}

/* Whether the source is impossible (RFC 1122 section 3.2.1.3, RFC 1812 section 5.3.7). An answer to it would go to
 * many, or back to the director. 240/4 is in use here and there, and Linux takes it. */
static __always_inline bool is_martian(__be32 source)
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
static __always_inline void write_ip(void *at, __u8 tos, __u32 length, __be16 id, __be16 frag_off, __u8 protocol,
				     __be32 source, __be32 destination)
{
	__u32 *word = at;
	__u32 first = bpf_htonl((__u32)IP_PLAIN << 24 | (__u32)tos << 16 | (length & 0xffff));
	__u32 second = (__u32)frag_off << 16 | id;
	__u32 third = bpf_htonl((__u32)IPDEFTTL << 24 | (__u32)protocol << 16);
	__u64 sum = (__u64)first + second + third + source + destination;
	/* The sum is below 5 * 2^32. Its 16-bit words add up to 0x20002 at most, and to 0x10000 after one fold. */
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
	WRITE(packet->counters->count[counter]++);
	TRACE(trace.counted = trace.counted << 8 | (counter + 1));
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
