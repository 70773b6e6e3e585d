// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The program for interfaces without the packet program. By default a Linux host answers ARP for all of its addresses
 * on all of its interfaces. This program drops requests for a VIP where its row says so (IPVSD_STRAY_SILENT). Packets
 * for a service are counted, and go on to the director's own stack unchanged. */
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include "maps.h"
#include "packet.h"

/* Offsets behind the Ethernet header, and a value of the operation (RFC 826). linux/if_arp.h does not compile for this
 * target. */
#define ARP_OPERATION 6
#define ARP_TARGET 24
#define ARP_REQUEST 1

static __always_inline struct ipvsd_stray *stray_of(const struct __sk_buff *skb, __be32 vip)
{
	struct ipvsd_stray_key key = { .ifindex = skb->ifindex, .vip = vip };

	return bpf_map_lookup_elem(&strays, &key);
}

static __always_inline int on_arp(struct __sk_buff *skb)
{
	struct ipvsd_stray *stray;
	__be16 operation;
	__be32 target;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + ARP_OPERATION, &operation, sizeof(operation)) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + ARP_TARGET, &target, sizeof(target)) ||
	    operation != bpf_htons(ARP_REQUEST) || !may_be_vip(target))
		return TC_ACT_UNSPEC;
	stray = stray_of(skb, target);
	return stray && stray->flags & IPVSD_STRAY_SILENT ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

static __always_inline bool is_service(__be32 vip, __be16 port, __u8 protocol)
{
	struct ipvsd_listener_key key = { .vip = vip, .port = port, .protocol = protocol };

	if (bpf_map_lookup_elem(&listeners, &key))
		return true;
	key.port = 0;
	return bpf_map_lookup_elem(&listeners, &key) != NULL;
}

static __always_inline void on_ip(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	struct ipvsd_stray *stray;
	__be16 port;

	if ((void *)(ip + 1) > end || !may_be_vip(ip->daddr) || ip->frag_off & bpf_htons(IP_OFFSET) ||
	    (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
		return;
	stray = stray_of(skb, ip->daddr);
	if (!stray ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + ip->ihl * 4 + offsetof(struct udphdr, dest), &port, sizeof(port)) ||
	    !is_service(ip->daddr, port, ip->protocol))
		return;
	__sync_fetch_and_add(&stray->packets, 1);
	stray->last = bpf_ktime_get_coarse_ns();
}

SEC("tc")
int stray(struct __sk_buff *skb)
{
	/* A tagged packet is for a VLAN device, on which the program is attached, too. */
	if (skb->vlan_present || skb->pkt_type == PACKET_OTHERHOST)
		return TC_ACT_UNSPEC;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return on_arp(skb);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		on_ip(skb);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual MIT/GPL";
