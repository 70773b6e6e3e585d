/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The counts of health checks' packets on ipvsd0. An answer is counted before the machine's packet filters, and a
 * question after them. Where a counted answer does not reach its socket, this machine has dropped it. The cause is a
 * filter, or a wrong checksum, which the kernel counts. Answers to datagrams are not counted, as nothing shows whether
 * the socket got one. */
#pragma once

#include "ipvsd_checks.h"
#include "map_types.h"
#include "packet.h"

/* Written by checks, read by the daemon. */
LRU_HASH(check_traffic, struct ipvsd_check_key, struct ipvsd_check_traffic, 16384);
/* The server id of each echo request, by its identifier and sequence number in network byte order. The checks' own. */
LRU_HASH(check_echoes, __u32, __u32, 16384);

/* Returns the identifier and the sequence number, which a stranger cannot guess (RFC 792). */
static __always_inline __u32 echo_name(const struct icmp_header *echo) { return *(const __u32 *)&echo->unused; }

static __always_inline struct ipvsd_check_traffic *traffic_of(const struct ipvsd_check_key *key)
{
	struct ipvsd_check_traffic none = {};
	struct ipvsd_check_traffic *traffic = bpf_map_lookup_elem(&check_traffic, key);

	if (traffic)
		return traffic;
	bpf_map_update_elem(&check_traffic, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&check_traffic, key);
}

/* Counts a check's packet that leaves. Its IP header begins at `offset`. Longer echo requests are probes of the path
 * MTU, and are not counted. */
static __noinline int count_question(struct __sk_buff *skb, const struct iphdr *ip, __u32 offset, __u32 server)
{
	struct ipvsd_check_key key = { .server = server, .protocol = ip->protocol };
	struct ipvsd_check_traffic *traffic;
	struct icmp_header icmp;
	struct tcphdr tcp;
	__be16 ports[2];
	__u32 name = 0;
	bool begins = true;

	offset += ip->ihl * 4;
	if (ip->protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, offset, &tcp, sizeof(tcp)))
			return 0;
		key.port = tcp.dest;
		begins = tcp.syn;
		if (!begins && (!tcp.ack || tcp.rst))
			return 0;
	} else if (ip->protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, offset, ports, sizeof(ports)))
			return 0;
		key.port = ports[1];
	} else if (ip->protocol == IPPROTO_ICMP) {
		if (bpf_ntohs(ip->tot_len) != IP_LEN + sizeof(icmp) ||
		    bpf_skb_load_bytes(skb, offset, &icmp, sizeof(icmp)) || icmp.type != ICMP_ECHO_REQUEST)
			return 0;
		name = echo_name(&icmp);
		bpf_map_update_elem(&check_echoes, &name, &server, BPF_ANY);
	} else {
		return 0;
	}
	traffic = traffic_of(&key);
	if (!traffic)
		return 0;
	if (begins) {
		traffic->echo = name;
		__sync_fetch_and_add(&traffic->sent, 1);
	} else {
		traffic->heard = traffic->answered;
	}
	return 0;
}

static __always_inline void count_tcp_answer(__u32 mark, __be16 port)
{
	struct ipvsd_check_key key = {
		.server = mark & ~IPVSD_CHECK_MARK_MASK,
		.protocol = IPPROTO_TCP,
		.port = port,
	};
	struct ipvsd_check_traffic *traffic = bpf_map_lookup_elem(&check_traffic, &key);

	if (traffic)
		__sync_fetch_and_add(&traffic->answered, 1);
}

/* Counts a reply to the last echo request of a real server. A reply to an earlier one comes too late. */
static __always_inline void count_echo_reply(const struct icmp_header *icmp)
{
	struct ipvsd_check_key key = { .protocol = IPPROTO_ICMP };
	struct ipvsd_check_traffic *traffic;
	__u32 name = echo_name(icmp), *server = bpf_map_lookup_elem(&check_echoes, &name);

	if (!server)
		return;
	key.server = *server;
	traffic = bpf_map_lookup_elem(&check_traffic, &key);
	if (traffic && traffic->echo == name)
		__sync_fetch_and_add(&traffic->answered, 1);
}
