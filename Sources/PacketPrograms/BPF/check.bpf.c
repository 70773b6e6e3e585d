// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Health checks through the tunnel. A check's socket is bound to ipvsd0, and has its real server's id in its mark. A
 * packet that leaves by ipvsd0 gets the outer header. The answer from the VIP is moved from its ingress interface back
 * into ipvsd0. Only there does the kernel accept a packet from a local address. There the answer goes on only if it is
 * for a check's socket. The packet filter's rules for its ingress interface have not seen it. */
#include <linux/pkt_cls.h>

#include "check_traffic.h"
#include "maps.h"
#include "outer_id.h"
#include "packet.h"

#define AF_INET 2

const volatile struct ipvsd_check_constants check_constants;

static __always_inline bool is_from_vip(const struct iphdr *ip)
{
	struct ipvsd_listener_key key = { .vip = ip->saddr };

	return bpf_map_lookup_elem(&listeners, &key) != NULL;
}

SEC("tc")
int check_egress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *inner = data + sizeof(struct ethhdr);
	__u32 server_id = skb->mark & ~IPVSD_CHECK_MARK_MASK, hop_id, length;
	struct ipvsd_server *server;
	struct ipvsd_next_hop *hop;
	struct iphdr ip;
	__u32 outer[5];
	__be16 fragment;

	if ((skb->mark & IPVSD_CHECK_MARK_MASK) != IPVSD_CHECK_MARK || skb->protocol != bpf_htons(ETH_P_IP) ||
	    (void *)(inner + 1) > end)
		return TC_ACT_SHOT;
	ip = *inner;
	count_question(skb, &ip, sizeof(struct ethhdr), server_id);
	server = bpf_map_lookup_elem(&servers, &server_id);
	if (!server)
		return TC_ACT_SHOT;
	hop_id = *(volatile __u32 *)&server->next_hop;
	hop = bpf_map_lookup_elem(&next_hops, &hop_id);
	if (!hop || !hop->route_ifindex)
		return TC_ACT_SHOT;
	length = bpf_ntohs(ip.tot_len) + sizeof(outer);
	fragment = ip.frag_off & bpf_htons(IP_DF);
	write_ip(outer, ip.tos, length, fragment ? 0 : next_outer_id(hop_id), fragment, IPPROTO_IPIP, hop->source,
		 hop->destination);
	if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_NO_CSUM_RESET) ||
	    bpf_skb_store_bytes(skb, sizeof(struct ethhdr), outer, sizeof(outer), 0))
		return TC_ACT_SHOT;
	/* The kernel finds the next hop and its MAC, also behind a router. */
	return bpf_redirect_neigh(hop->route_ifindex, 0, 0, 0);
}

SEC("tc")
int check_ingress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	__u8 mac[ETH_ALEN];
	bool ours = false;

	if (skb->protocol != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > end)
		return TC_ACT_UNSPEC;
#pragma unroll
	for (int i = 0; i < IPVSD_CHECK_ADDRESSES; i++)
		ours |= ip->daddr == settings.check_address[i];
	if (!ours || !is_from_vip(ip))
		return TC_ACT_UNSPEC;
	/* The copy is byte by byte. memcpy would drop the volatile, and the compiler would take the constant for
	 * zero. */
	for (int i = 0; i < ETH_ALEN; i++)
		mac[i] = check_constants.check_mac[i];
	if (bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0))
		return TC_ACT_SHOT;
	return bpf_redirect(check_constants.check_ifindex, BPF_F_INGRESS);
}

/* Counts the answer to a socket's SYN. The answer has to acknowledge the SYN's number, which a stranger would have to
 * guess (RFC 9293 section 3.10.7.3). Before the answer, snd_una is the SYN's number. snd_nxt may not be set yet where
 * an answer comes at once. */
static __always_inline void count_answer(struct bpf_sock *found, __be16 port, __u32 acknowledged)
{
	struct bpf_sock *socket = bpf_sk_fullsock(found);
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(found);

	if (socket && tcp && socket->state == BPF_TCP_SYN_SENT && acknowledged == tcp->snd_una + 1)
		count_tcp_answer(socket->mark, port);
}

/* Whether a socket with these ends exists and is bound to ipvsd0, as checks' sockets are. `acknowledged` is the number
 * that its peer acknowledges, in the host's byte order; 0: nothing is counted. The function is not inlined: the
 * compiler could merge it with has_udp_check, and the verifier accepts no instruction for socket pointers of both
 * kinds. */
static __noinline bool has_tcp_check(struct __sk_buff *skb, struct bpf_sock_tuple *ends, __u32 acknowledged)
{
	struct bpf_sock *socket = bpf_skc_lookup_tcp(skb, ends, sizeof(ends->ipv4), BPF_F_CURRENT_NETNS, 0);
	bool is_check;

	if (!socket)
		return false;
	is_check = socket->bound_dev_if == check_constants.check_ifindex;
	if (is_check && acknowledged)
		count_answer(socket, ends->ipv4.sport, acknowledged);
	bpf_sk_release(socket);
	return is_check;
}

static __noinline bool has_udp_check(struct __sk_buff *skb, struct bpf_sock_tuple *ends)
{
	struct bpf_sock *socket = bpf_sk_lookup_udp(skb, ends, sizeof(ends->ipv4), BPF_F_CURRENT_NETNS, 0);
	bool is_check;

	if (!socket)
		return false;
	is_check = socket->bound_dev_if == check_constants.check_ifindex;
	bpf_sk_release(socket);
	return is_check;
}

/* Returns the number that a SYN-ACK acknowledges, in the host's byte order; 0: the segment is not a SYN-ACK. A reset is
 * not counted as an answer, since no socket acknowledges it. */
static __always_inline __u32 acknowledged_by(struct __sk_buff *skb, __u32 offset)
{
	struct tcphdr tcp;

	if (bpf_skb_load_bytes(skb, offset, &tcp, sizeof(tcp)) || !tcp.syn || !tcp.ack)
		return 0;
	return bpf_ntohl(tcp.ack_seq);
}

/* Whether a check's socket gets the packet whose IP header is at `offset`. A SYN-ACK for it is counted. With
 * `is_quoted`, whether a check's socket has sent the packet, which an ICMP error quotes. */
static __always_inline bool has_check(struct __sk_buff *skb, const struct iphdr *ip, __u32 offset, bool is_quoted)
{
	struct bpf_sock_tuple ends = {};
	__be16 ports[2];

	offset += ip->ihl * 4;
	if (bpf_skb_load_bytes(skb, offset, ports, sizeof(ports)))
		return false;
	ends.ipv4.saddr = is_quoted ? ip->daddr : ip->saddr;
	ends.ipv4.daddr = is_quoted ? ip->saddr : ip->daddr;
	ends.ipv4.sport = ports[is_quoted ? 1 : 0];
	ends.ipv4.dport = ports[is_quoted ? 0 : 1];
	if (ip->protocol == IPPROTO_TCP)
		return has_tcp_check(skb, &ends, is_quoted ? 0 : acknowledged_by(skb, offset));
	return ip->protocol == IPPROTO_UDP && has_udp_check(skb, &ends);
}

/* Whether the packet is an echo reply, which goes to raw sockets alone, or an error about a check's packet. An error
 * about any ICMP packet from this address counts as one. */
static __always_inline bool is_icmp_answer(struct __sk_buff *skb, const struct iphdr *ip, __u32 offset)
{
	struct icmp_header icmp;
	struct iphdr quoted;

	offset += ip->ihl * 4;
	if (bpf_skb_load_bytes(skb, offset, &icmp, sizeof(icmp)))
		return false;
	if (icmp.type == ICMP_ECHO_REPLY) {
		count_echo_reply(&icmp);
		return true;
	}
	if (icmp.type != ICMP_UNREACHABLE && icmp.type != ICMP_TIME_EXCEEDED && icmp.type != ICMP_PARAMETER_PROBLEM)
		return false;
	offset += sizeof(icmp);
	if (bpf_skb_load_bytes(skb, offset, &quoted, sizeof(quoted)) || quoted.saddr != ip->daddr)
		return false;
	return quoted.protocol == IPPROTO_ICMP || has_check(skb, &quoted, offset, true);
}

/* The program for packets that come in on ipvsd0. These are answers to checks, and encapsulated packets for the kernel
 * to fragment. A packet from a VIP is dropped if it answers no check. The look-up is made here, since on a NIC it would
 * not find a socket that is bound to ipvsd0. */
SEC("tc")
int check_answers(struct __sk_buff *skb)
{
	const __u32 offset = sizeof(struct ethhdr);
	struct iphdr ip;
	bool is_answer;

	if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) ||
	    !is_from_vip(&ip))
		return TC_ACT_UNSPEC;
	/* Later fragments pass. They are useless without the first fragment, which has the ports. */
	if (ip.frag_off & bpf_htons(IP_OFFSET))
		return TC_ACT_UNSPEC;
	is_answer = ip.protocol == IPPROTO_ICMP ? is_icmp_answer(skb, &ip, offset) : has_check(skb, &ip, offset, false);
	return is_answer ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
