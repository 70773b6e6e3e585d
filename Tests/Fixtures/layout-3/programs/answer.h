/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Replies that the packet program makes itself, from the VIP, back where the packet came from. */
#pragma once

#include "packet.h"

const volatile struct ipvsd_director_constants constants;

struct allowance {
	__u64 since;
	__u64 used;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct allowance);
} allowances SEC(".maps");

/* At most reply_limit generated replies in each second of each CPU. */
static __always_inline int may_answer(void)
{
	__u32 zero = 0;
	struct allowance *allowance = bpf_map_lookup_elem(&allowances, &zero);
	__u64 second = bpf_ktime_get_coarse_ns() / 1000000000;

	if (!allowance)
		return 0;
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
	checksum = (__u16)~ip->check + (__u16)~bpf_htons((__u16)ip->ttl << 8) + bpf_htons(64 << 8);
	checksum = (checksum & 0xffff) + (checksum >> 16);
	ip->check = ~((checksum & 0xffff) + (checksum >> 16));
	ip->ttl = 64;
	ip->saddr = packet->vip;
	ip->daddr = packet->client;
	icmp->type = ICMP_ECHO_REPLY;
	/* RFC 1141's sum, which never is 0: RFC 1624's would be wrong for a reply of zeros. */
	checksum = icmp->checksum + bpf_htons(ICMP_ECHO_REQUEST << 8);
	icmp->checksum = (checksum & 0xffff) + (checksum >> 16);
	return send_back(packet, IPVSD_ANSWERED_ECHO);
}

/* RFC 9293 section 3.5.2: the reset takes its number from the ACK field, or acknowledges what came. */
static __always_inline int answer_reset(struct packet *packet, const struct tcphdr *received,
					enum ipvsd_counter reason)
{
	__u32 length = packet->l3 + 40;
	__be32 sequence = received->ack ? received->ack_seq : 0;
	__u32 occupied = packet->length - packet->header_length - received->doff * 4 + received->syn + received->fin;
	__be32 acknowledged = received->ack ? 0 : bpf_htonl(bpf_ntohl(received->seq) + occupied);
	__u32 flags = received->ack ? 0x5004 : 0x5014; /* five words; RST, or RST and ACK */
	void *data, *end;
	__be32 *tcp;

	if (!may_answer())
		return drop(packet, IPVSD_DROPPED_REPLY_LIMIT);
	if (bpf_xdp_adjust_tail(packet->ctx, (int)length - (int)packet->frame))
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	data = (void *)(long)packet->ctx->data;
	end = (void *)(long)packet->ctx->data_end;
	tcp = data + packet->l3 + 20;
	if (data + sizeof(struct ethhdr) > end || (void *)(tcp + 5) > end)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	swap_macs(data);
	write_ip((void *)tcp - 20, 0, 40, 0, bpf_htons(IP_DF), IPPROTO_TCP, packet->vip, packet->client);
	tcp[0] = (__u32)packet->client_port << 16 | packet->port;
	tcp[1] = sequence;
	tcp[2] = acknowledged;
	tcp[3] = bpf_htonl(flags << 16);
	tcp[4] = fold((__u64)tcp[0] + sequence + acknowledged + tcp[3] + packet->vip + packet->client +
		      bpf_htonl(IPPROTO_TCP << 16 | 20));
	return send_back(packet, reason);
}

/* An ICMP "unreachable" that quotes the IP header and 8 bytes (RFC 792). mtu is for code 4, else 0. */
static __always_inline int answer_unreachable(struct packet *packet, __u8 code, __u32 mtu, enum ipvsd_counter reason)
{
	__u32 quoted = packet->header_length + 8, l3 = packet->l3;
	struct icmp_header *icmp;
	void *data, *end;
	__u64 sum = 0;

	if (!may_answer())
		return drop(packet, IPVSD_DROPPED_REPLY_LIMIT);
	if (bpf_xdp_adjust_tail(packet->ctx, (int)(l3 + quoted) - (int)packet->frame) || bpf_xdp_adjust_head(packet->ctx, -28))
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	data = (void *)(long)packet->ctx->data;
	end = (void *)(long)packet->ctx->data_end;
	if (data + 28 + 22 > end)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	__builtin_memcpy(data, data + 28, 22); /* Ethernet with up to two tags */
	swap_macs(data);
	icmp = data + l3 + 20;
	if ((void *)(icmp + 1) > end)
		return drop(packet, IPVSD_DROPPED_INTERNAL);
	write_ip((void *)icmp - 20, packet->tos & 0xfc, 28 + quoted, 0, bpf_htons(IP_DF), IPPROTO_ICMP, packet->vip,
		 packet->client);
	*icmp = (struct icmp_header){ .type = ICMP_UNREACHABLE, .code = code, .mtu = bpf_htons(mtu) };
	for (int i = 0; i < (8 + 60 + 8) / 2; i++) {
		__u16 *word = (__u16 *)icmp + i;

		if ((void *)(word + 1) > end)
			break;
		sum += *word;
	}
	icmp->checksum = fold(sum);
	return send_back(packet, reason);
}
