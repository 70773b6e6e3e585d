// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A replacement for the receiving side of the kernel's ipip device, on tc ingress of a real server's NIC. It removes
 * the outer header of an IPIP packet (RFC 2003). The inner packet comes in on tunl0, a TUN device that holds the VIP.
 * All other packets go on to the next filter unchanged. */
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include "packet.h"

#define ECN 3
#define NOT_ECT 0
#define ECT_1 1
#define ECT_0 2
#define CE 3

const volatile __u32 tunl0_ifindex;

/* Whether the outer destination is this machine. A router also gets tunnelled packets for other machines. Without
 * forwarding, the kernel makes no look-up, and would drop packets for other machines anyway. */
static __always_inline bool is_local(struct __sk_buff *skb, const struct iphdr *outer)
{
	struct bpf_fib_lookup route = {
		.family = 2 /* AF_INET */,
		.ifindex = skb->ifindex,
		.ipv4_src = outer->saddr,
		.ipv4_dst = outer->daddr,
		.l4_protocol = IPPROTO_IPIP,
		.tos = outer->tos,
	};
	long result = bpf_fib_lookup(skb, &route, sizeof(route), 0);

	return result == BPF_FIB_LKUP_RET_NOT_FWDED || result == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

/* Returns the inner ECN field after decapsulation (RFC 6040, figure 4); -1: the packet has to be dropped. */
static __always_inline int decapsulated_ecn(__u8 outer, __u8 inner)
{
	if (outer == CE)
		return inner == NOT_ECT ? -1 : CE;
	return outer == ECT_1 && inner == ECT_0 ? ECT_1 : inner;
}

/* Writes the TOS byte of the IP header at `offset`. Returns false where that is impossible. The sum over the header
 * stays zero, so that the NIC's checksum of the whole packet, if any, stays right. */
static __always_inline bool set_tos(struct __sk_buff *skb, __u32 offset, const struct iphdr *ip, __u8 tos)
{
	__u16 first = *(const __u8 *)ip; /* version and header length */
	__u16 from = bpf_htons(first << 8 | ip->tos), to = bpf_htons(first << 8 | tos);

	return !bpf_l3_csum_replace(skb, offset + offsetof(struct iphdr, check), from, to, sizeof(to)) &&
	       !bpf_skb_store_bytes(skb, offset + offsetof(struct iphdr, tos), &tos, sizeof(tos), 0);
}

SEC("tc")
int decapsulate(struct __sk_buff *skb)
{
	struct iphdr outer, inner;
	__u32 outer_size, inner_offset;
	int ecn;

	/* A tagged packet is for a VLAN device, whose own ingress sees the packet without the tag. */
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &outer, sizeof(outer)) || outer.protocol != IPPROTO_IPIP)
		return TC_ACT_UNSPEC;
	/* Fragments of an outer packet have to be reassembled first, which only the stack can do. */
	outer_size = outer.ihl * 4;
	if (outer.version != 4 || outer_size < sizeof(outer) || outer.frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return TC_ACT_UNSPEC;
	inner_offset = ETH_HLEN + outer_size;
	if (bpf_skb_load_bytes(skb, inner_offset, &inner, sizeof(inner)) || inner.version != 4 ||
	    inner.ihl < IP_LEN / 4 || bpf_ntohs(outer.tot_len) < outer_size + bpf_ntohs(inner.tot_len))
		return TC_ACT_UNSPEC;
	if (!is_local(skb, &outer))
		return TC_ACT_UNSPEC;

	ecn = decapsulated_ecn(outer.tos & ECN, inner.tos & ECN);
	if (ecn < 0)
		return TC_ACT_SHOT;
	if (ecn != (inner.tos & ECN) && !set_tos(skb, inner_offset, &inner, (inner.tos & ~ECN) | ecn))
		return TC_ACT_SHOT;
	/* The flags keep the segment size of merged segments and the verified checksum, which belong to the inner
	 * packet. */
	if (bpf_skb_adjust_room(skb, -(int)outer_size, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return TC_ACT_SHOT;
	return bpf_redirect(tunl0_ifindex, BPF_F_INGRESS);
}

char _license[] SEC("license") = "Dual MIT/GPL";
