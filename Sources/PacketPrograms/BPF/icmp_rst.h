/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The packet program's own replies, which go from the VIP back to the sender: ICMP and TCP resets. */
#pragma once

#include "constants.h"
#include "maps.h"
#include "packet.h"
#include "trace.h"

#define NANOSECONDS 1000000000 /* in a second */
#define RST_LEN (IP_LEN + TCP_MIN_DOFF * sizeof(__u32))
#define ICMP_ERROR_LEN (IP_LEN + sizeof(struct icmp_header))
/* The largest number of bytes of an ICMP header and its quotation. */
#define ICMP_SUMMED (sizeof(struct icmp_header) + IP_MAX_LEN + PORTS_LEN)
#define DSCP_MASK 0xfc
#define LINK_LEN (sizeof(struct ethhdr) + VLAN_TAGS * sizeof(struct vlan_tag))
/* The upper half of a TCP header's fourth word: its length in words, and its flags. */
#define RST_ACKNOWLEDGED (TCP_MIN_DOFF << 12 | TCP_RST)
#define RST_AND_ACK (RST_ACKNOWLEDGED | TCP_ACK)

struct allowance {
	__u64 since; /* second of the coarse clock */
	__u64 used;  /* answers in that second */
};

/* By the counter of the answer (enum ipvsd_counter). Written and read by the director. */
PERCPU_ARRAY(allowances, struct allowance, IPVSD_ANSWERED_TOO_BIG + 1);

/* Allows at most reply_limit answers of a kind in each second on each CPU. Each kind has its own allowance, so that a
 * flood of one does not silence another. Echo replies have no limit, as in the kernel. */
static __always_inline bool may_answer(enum ipvsd_counter kind)
{
	__u32 index = kind;
	struct allowance *allowance = bpf_map_lookup_elem(&allowances, &index);
	__u64 second = bpf_ktime_get_coarse_ns() / NANOSECONDS;

	if (!allowance)
		return false;
	/* The explaining program assumes that the limit is not reached. */
	if (EXPLAINS)
		return constants.reply_limit;
	if (allowance->since != second) {
		allowance->since = second;
		allowance->used = 0;
	}
	return allowance->used++ < constants.reply_limit;
}

static __always_inline void swap_macs(struct ethhdr *ethernet)
{
	__u8 address[ETH_ALEN];

	__builtin_memcpy(address, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, address, ETH_ALEN);
}

static __always_inline int send_back(struct packet *packet, enum ipvsd_counter reason)
{
	count(packet, reason);
	if (constants.answer_by_redirect)
		return bpf_redirect(packet->ctx->ingress_ifindex, 0);
	return XDP_TX;
}

static __always_inline int answer_echo(struct packet *packet)
{
	void *data = (void *)(long)packet->ctx->data, *end = (void *)(long)packet->ctx->data_end;
	struct iphdr *ip = data + packet->l3;
	struct icmp_header *icmp = (void *)ip + packet->header_length;
	__u32 checksum;

	if ((void *)(ip + 1) > end || (void *)(icmp + 1) > end)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	swap_macs(data);
	/* RFC 1624: HC' = ~(~HC + ~m + m'), for the word of TTL and protocol. */
	checksum = (__u16)~ip->check + (__u16)~bpf_htons((__u16)ip->ttl << 8) + bpf_htons(IPDEFTTL << 8);
	checksum = (checksum & 0xffff) + (checksum >> 16);
	ip->check = ~((checksum & 0xffff) + (checksum >> 16));
	ip->ttl = IPDEFTTL;
	ip->saddr = packet->vip;
	ip->daddr = packet->client;
	icmp->type = ICMP_ECHO_REPLY;
	/* RFC 1141's sum is never 0. For a reply of zeros, whose checksum is 0xffff, RFC 1624's sum would be 0. */
	checksum = icmp->checksum + bpf_htons(ICMP_ECHO_REQUEST << 8);
	icmp->checksum = (checksum & 0xffff) + (checksum >> 16);
	return send_back(packet, IPVSD_ANSWERED_ECHO);
}

/* Cuts the frame to `length` bytes. Returns 0 on success. */
static __always_inline int cut(const struct packet *packet, __u32 length)
{
	struct xdp_md *ctx = packet->ctx;
	__u32 present = packet->frame_len;

	if (EXPLAINS)
		present = present_length((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	return bpf_xdp_adjust_tail(ctx, (int)length - (int)present);
}

/* Answers a segment with a reset. If the segment has the ACK flag, its ACK field gives the reset's sequence number.
 * Otherwise the number is 0, and the reset acknowledges the segment (RFC 9293 section 3.5.2). */
static __always_inline int answer_reset(struct packet *packet, const struct tcphdr *received, enum ipvsd_counter reason)
{
	__u32 length = packet->l3 + RST_LEN;
	__be32 sequence = received->ack ? received->ack_seq : 0;
	__u32 occupied = packet->tot_len - packet->header_length - received->doff * 4 + received->syn + received->fin;
	__be32 acknowledged = received->ack ? 0 : bpf_htonl(bpf_ntohl(received->seq) + occupied);
	__u32 flags = received->ack ? RST_ACKNOWLEDGED : RST_AND_ACK;
	void *data, *end;
	__be32 *tcp;

	if (!may_answer(reason))
		return drop(packet, IPVSD_DROPPED_REPLY_LIMIT);
	if (cut(packet, length))
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	data = (void *)(long)packet->ctx->data;
	end = (void *)(long)packet->ctx->data_end;
	tcp = data + packet->l3 + IP_LEN;
	if (data + sizeof(struct ethhdr) > end || (void *)(tcp + TCP_MIN_DOFF) > end)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	swap_macs(data);
	write_ip((void *)tcp - IP_LEN, 0, RST_LEN, 0, bpf_htons(IP_DF), IPPROTO_TCP, packet->vip, packet->client);
	tcp[0] = (__u32)packet->client_port << 16 | packet->port;
	tcp[1] = sequence;
	tcp[2] = acknowledged;
	tcp[3] = bpf_htonl(flags << 16);
	tcp[4] = fold((__u64)tcp[0] + sequence + acknowledged + tcp[3] + packet->vip + packet->client +
		      bpf_htonl(IPPROTO_TCP << 16 | (RST_LEN - IP_LEN)));
	return send_back(packet, reason);
}

/* Answers with an ICMP "unreachable" that quotes the IP header and 8 bytes (RFC 792). `mtu` is 0 except for
 * ICMP_FRAGMENTATION_NEEDED. */
static __always_inline int answer_unreachable(struct packet *packet, __u8 code, __u32 mtu, enum ipvsd_counter reason)
{
	__u32 quoted = packet->header_length + PORTS_LEN, l3 = packet->l3;
	struct icmp_header *icmp;
	void *data, *end;
	__u64 sum = 0;

	if (!may_answer(reason))
		return drop(packet, IPVSD_DROPPED_REPLY_LIMIT);
	if (cut(packet, l3 + quoted) || bpf_xdp_adjust_head(packet->ctx, -(int)ICMP_ERROR_LEN))
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	data = (void *)(long)packet->ctx->data;
	end = (void *)(long)packet->ctx->data_end;
	if (data + ICMP_ERROR_LEN + LINK_LEN > end)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	__builtin_memcpy(data, data + ICMP_ERROR_LEN, LINK_LEN);
	swap_macs(data);
	icmp = data + l3 + IP_LEN;
	if ((void *)(icmp + 1) > end)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	write_ip((void *)icmp - IP_LEN, packet->tos & DSCP_MASK, ICMP_ERROR_LEN + quoted, 0, bpf_htons(IP_DF),
		 IPPROTO_ICMP, packet->vip, packet->client);
	*icmp = (struct icmp_header){ .type = ICMP_UNREACHABLE, .code = code, .mtu = bpf_htons(mtu) };
	for (__u32 i = 0; i < ICMP_SUMMED / 2; i++) {
		__u16 *word = (__u16 *)icmp + i;

		if ((void *)(word + 1) > end)
			break;
		sum += *word;
	}
	icmp->checksum = fold(sum);
	return send_back(packet, reason);
}
