// SPDX-License-Identifier: MIT OR GPL-2.0
/* Health checks through the tunnel. A check's socket is bound to ipvsd0 and carries its real server in the mark: on
 * the way out of ipvsd0 the packet gets the outer header; the answer from the VIP is moved from the interface it
 * comes in on back into ipvsd0, where alone a packet from a local address is accepted. */
#include <linux/pkt_cls.h>

#include "maps.h"
#include "packet.h"

#define AF_INET 2

const volatile struct ipvsd_check_constants check_constants;

SEC("tc")
int check_egress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *inner = data + sizeof(struct ethhdr);
	__u32 server_id = skb->mark & ~IPVSD_CHECK_MARK_MASK, path_id, length;
	struct ipvsd_server *server;
	struct ipvsd_path *path;
	__u32 outer[5];
	__be16 fragment;
	__u8 tos;

	if ((skb->mark & IPVSD_CHECK_MARK_MASK) != IPVSD_CHECK_MARK || skb->protocol != bpf_htons(ETH_P_IP) ||
	    (void *)(inner + 1) > end)
		return TC_ACT_SHOT;
	server = bpf_map_lookup_elem(&servers, &server_id);
	if (!server)
		return TC_ACT_SHOT;
	path_id = *(volatile __u32 *)&server->path;
	path = bpf_map_lookup_elem(&paths, &path_id);
	if (!path || !path->route_ifindex)
		return TC_ACT_SHOT;
	length = bpf_ntohs(inner->tot_len) + sizeof(outer);
	tos = inner->tos;
	fragment = inner->frag_off & bpf_htons(IP_DF);
	write_ip(outer, tos, length, fragment ? 0 : bpf_htons(bpf_get_prandom_u32() | 1), fragment, IPPROTO_IPIP,
		 path->source, path->destination);
	if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_NO_CSUM_RESET) ||
	    bpf_skb_store_bytes(skb, sizeof(struct ethhdr), outer, sizeof(outer), 0))
		return TC_ACT_SHOT;
	/* The kernel finds the next hop, behind a router too, and asks for its MAC. */
	return bpf_redirect_neigh(path->route_ifindex, 0, 0, 0);
}

SEC("tc")
int check_ingress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct ipvsd_service_key key = {};
	__u8 mac[ETH_ALEN];
	int ours = 0;

	if (skb->protocol != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > end)
		return TC_ACT_UNSPEC;
#pragma unroll
	for (int i = 0; i < IPVSD_CHECK_ADDRESSES; i++)
		ours |= ip->daddr == settings.check_address[i];
	key.vip = ip->saddr;
	if (!ours || !bpf_map_lookup_elem(&services, &key))
		return TC_ACT_UNSPEC;
	/* Byte by byte: memcpy would drop the volatile, and the compiler take the constant for zero. */
	for (int i = 0; i < ETH_ALEN; i++)
		mac[i] = check_constants.check_mac[i];
	if (bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0))
		return TC_ACT_SHOT;
	return bpf_redirect(check_constants.check_ifindex, BPF_F_INGRESS);
}

char _license[] SEC("license") = "Dual MIT/GPL";
