// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Lowers the MSS in SYN-ACKs from a VIP where nftables cannot. The program is on tc egress of a real server's NIC.
 * There, netfilter has already put the VIP into the answers of containers. All packets go on to the next filter. */
#include <linux/pkt_cls.h>
#include <stddef.h>

#include "packet.h"

#define KNOWN_FLAGS (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)
#define OPTIONS_SIZE 40
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define MSS_LENGTH 4
#define OVERHEAD (2 * IP_LEN + TCP_MIN_DOFF * sizeof(__u32)) /* two IPv4 headers and a TCP header */

const volatile struct {
	__be32 vip;
	__u32 size; /* largest MSS; 0: what the interface's MTU leaves room for */
} settings;

/* Returns the offset of the value of the MSS option; 0: there is no such option. */
static __always_inline __u32 find_mss(struct __sk_buff *skb, __u32 at, __u32 end)
{
	__u8 kind, length;
	int i;

	for (i = 0; i < OPTIONS_SIZE; i++) {
		if (at >= end || bpf_skb_load_bytes(skb, at, &kind, 1) || kind == OPTION_END)
			return 0;
		if (kind == OPTION_NOP) {
			at++;
			continue;
		}
		if (bpf_skb_load_bytes(skb, at + 1, &length, 1) || length < 2)
			return 0;
		if (kind == OPTION_MSS)
			return length == MSS_LENGTH ? at + 2 : 0;
		at += length;
	}
	return 0;
}

static __always_inline __u32 largest_size(struct __sk_buff *skb)
{
	__u32 mtu = 0;

	if (settings.size)
		return settings.size;
	if (bpf_check_mtu(skb, 0, &mtu, 0, 0) < 0 || mtu <= OVERHEAD)
		return 0xffff;
	return mtu - OVERHEAD;
}

SEC("tc")
int lower_mss(struct __sk_buff *skb)
{
	__u32 start, at, size;
	struct tcphdr tcp;
	struct iphdr ip;
	__be16 from, to;

	if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return TC_ACT_UNSPEC;
	if (ip.saddr != settings.vip || ip.protocol != IPPROTO_TCP || ip.frag_off & bpf_htons(IP_OFFSET))
		return TC_ACT_UNSPEC;
	start = ETH_HLEN + ip.ihl * 4;
	if (bpf_skb_load_bytes(skb, start, &tcp, sizeof(tcp)) ||
	    (((__u8 *)&tcp)[TCP_FLAGS] & KNOWN_FLAGS) != (TCP_SYN | TCP_ACK))
		return TC_ACT_UNSPEC;

	at = find_mss(skb, start + sizeof(tcp), start + tcp.doff * 4);
	size = largest_size(skb);
	if (!at || bpf_skb_load_bytes(skb, at, &from, sizeof(from)) || bpf_ntohs(from) <= size)
		return TC_ACT_UNSPEC;
	to = bpf_htons(size);
	bpf_skb_store_bytes(skb, at, &to, sizeof(to), 0);
	/* The checksum is over 16-bit words, and an option need not begin at one. */
	if (at & 1) {
		from = __builtin_bswap16(from);
		to = __builtin_bswap16(to);
	}
	bpf_l4_csum_replace(skb, start + offsetof(struct tcphdr, check), from, to, sizeof(to));
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual MIT/GPL";
