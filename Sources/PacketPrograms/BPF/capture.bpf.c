// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The programs of `ipvsd capture`. During a capture, the kernel runs one before the director's program and one after it
 * (BPF_TRACE_FENTRY, BPF_TRACE_FEXIT). They see the received and the sent frame, the verdict, and the counters, which
 * tell the packet's end. The director's program itself is unchanged. */
#include "ipvsd_capture.h"
#include "map_types.h"
#include "packet.h"

#include <bpf/bpf_tracing.h>
#include <stddef.h>

/* The fields of the kernel's structures that are read here. The loader finds their offsets. */
struct net_device {
	int ifindex;
} __attribute__((preserve_access_index));

struct xdp_rxq_info {
	struct net_device *dev;
} __attribute__((preserve_access_index));

struct xdp_buff {
	void *data;
	void *data_end;
	struct xdp_rxq_info *rxq;
} __attribute__((preserve_access_index));

const volatile struct ipvsd_capture_filter filter;

/* The director's own maps, which are only read here: the settings, which its daemon writes, and its counters. */
MMAP_ARRAY(director_settings, struct ipvsd_settings);
PERCPU_ARRAY(director_counters, struct ipvsd_counters, 1);

/* Captured packets. Written here, read by `ipvsd capture`. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 23);
} ring SEC(".maps");

/* Packets that found no room in the ring, by the ifindex of their ingress interface. Written and read here. */
HASH(losses, __u32, __u64, 1024, 0);

/* The number of bytes that a filter reads: the Ethernet header with two tags, IP with options, ICMP, and the quoted IP
 * header with options and ports. */
#define HEAD                                                                                                           \
	(sizeof(struct ethhdr) + VLAN_TAGS * sizeof(struct vlan_tag) + IP_MAX_LEN + sizeof(struct icmp_header) +       \
	 IP_MAX_LEN + 2 * sizeof(__be16))

/* The packet that the director handles on this CPU. */
struct passage {
	__u64 context; /* the context of this packet; in a test run, another packet may come in between */
	__u64 counted[IPVSD_COUNTERS];
	__u8 head[256];
	struct ipvsd_captured captured;
	__u8 bytes[2 * IPVSD_CAPTURE_SNAPLEN];
};

/* Written and read here. */
PERCPU_ARRAY(passages, struct passage, 1);

/* The parts of a packet that a filter compares. Ports are 0 where they are not visible. */
struct flow {
	__be32 client;
	__be32 vip;
	__be16 client_port;
	__be16 port;
	__u8 protocol;
};

static __always_inline bool may_be_vip(__be32 address)
{
	__u32 zero = 0;
	struct ipvsd_settings *settings = bpf_map_lookup_elem(&director_settings, &zero);

	return settings && ipvsd_filter_has(settings->vip_filter, address);
}

/* The next functions return bytes of the head at an offset. They return 0 where the frame ends before. */
static __always_inline __u32 head_u32(const struct passage *passage, __u32 at, __u32 size)
{
	return at + sizeof(__u32) <= size && at <= HEAD ? *(const __u32 *)&passage->head[at] : 0;
}

static __always_inline __u16 head_u16(const struct passage *passage, __u32 at, __u32 size)
{
	return at + sizeof(__u16) <= size && at <= HEAD ? *(const __u16 *)&passage->head[at] : 0;
}

static __always_inline __u8 head_u8(const struct passage *passage, __u32 at, __u32 size)
{
	return at < size && at <= HEAD ? passage->head[at] : 0;
}

/* Returns the offset of the IPv4 header, behind up to two tags; 0 where there is none. */
static __always_inline __u32 find_ip(const struct passage *passage, __u32 size)
{
	__u32 at = sizeof(struct ethhdr);
	__be16 type = head_u16(passage, at - sizeof(type), size);

#pragma unroll
	for (int i = 0; i < VLAN_TAGS; i++) {
		if (is_vlan(type)) {
			at += sizeof(struct vlan_tag);
			type = head_u16(passage, at - sizeof(type), size);
		}
	}
	return type == bpf_htons(ETH_P_IP) && at + sizeof(struct iphdr) <= size ? at : 0;
}

/* Returns the length of an IP header, in bytes. */
static __always_inline __u32 header_length(const struct passage *passage, __u32 ip, __u32 size)
{
	return (head_u8(passage, ip, size) & IP_IHL) * 4;
}

static __always_inline bool has_ports(__u8 protocol) { return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP; }

static __always_inline struct flow flow_at(const struct passage *passage, __u32 ip, __u32 size)
{
	struct flow flow = {
		.client = head_u32(passage, ip + offsetof(struct iphdr, saddr), size),
		.vip = head_u32(passage, ip + offsetof(struct iphdr, daddr), size),
		.protocol = head_u8(passage, ip + offsetof(struct iphdr, protocol), size),
	};
	__u32 l4 = ip + header_length(passage, ip, size);

	if (has_ports(flow.protocol) &&
	    !(head_u16(passage, ip + offsetof(struct iphdr, frag_off), size) & bpf_htons(IP_OFFSET))) {
		flow.client_port = head_u16(passage, l4, size);
		flow.port = head_u16(passage, l4 + offsetof(struct udphdr, dest), size);
	}
	return flow;
}

static __always_inline bool is_wanted(const struct flow *flow)
{
	return (flow->client & filter.client_mask) == filter.client && (!filter.vip || filter.vip == flow->vip) &&
	       (!filter.protocol || filter.protocol == flow->protocol) &&
	       /* A later fragment's ports are not known. */
	       (!filter.client_port || !flow->client_port || filter.client_port == flow->client_port) &&
	       (!filter.port || !flow->port || filter.port == flow->port);
}

/* Whether the packet is an ICMP error that quotes a real server's packet of a wanted flow. is_wanted() compares the
 * error's sender. */
static __always_inline bool is_wanted_error(const struct passage *passage, __u32 ip, __u32 size)
{
	__u32 icmp = ip + header_length(passage, ip, size);
	__u8 type = head_u8(passage, icmp, size);
	struct flow reply, flow;

	if (type != ICMP_UNREACHABLE && type != ICMP_TIME_EXCEEDED && type != ICMP_PARAMETER_PROBLEM)
		return false;
	reply = flow_at(passage, icmp + sizeof(struct icmp_header), size);
	flow = (struct flow){
		.client = reply.vip,
		.vip = reply.client,
		.client_port = reply.port,
		.port = reply.client_port,
		.protocol = reply.protocol,
	};
	return is_wanted(&flow);
}

/* The bound has to be on the register that is used. The compiler may know it by another one. */
#define BOUND(size, limit)                                                                                             \
	do {                                                                                                           \
		asm volatile("" : "+r"(size));                                                                         \
		if ((size) > (limit))                                                                                  \
			(size) = (limit);                                                                              \
	} while (0)

SEC("fentry/director")
int BPF_PROG(capture_entry, struct xdp_buff *xdp)
{
	void *data = xdp->data;
	__u64 length = (__u64)xdp->data_end - (__u64)data, size = length;
	__u32 zero = 0, ip;
	struct passage *passage = bpf_map_lookup_elem(&passages, &zero);
	struct ipvsd_counters *counters;
	struct flow flow;

	if (!passage)
		return 0;
	BOUND(size, HEAD);
	if (bpf_probe_read_kernel(passage->head, size, data))
		return 0;
	ip = find_ip(passage, size);
	if (!ip)
		return 0;
	flow = flow_at(passage, ip, size);
	if (!may_be_vip(flow.vip))
		return 0;
	if (!is_wanted(&flow) && !(flow.protocol == IPPROTO_ICMP && is_wanted_error(passage, ip, size)))
		return 0;
	counters = bpf_map_lookup_elem(&director_counters, &zero);
	if (!counters)
		return 0;
	passage->captured = (struct ipvsd_captured){
		.arrived = bpf_ktime_get_ns(),
		.ingress = xdp->rxq->dev->ifindex,
		.before_length = length,
	};
	if (filter.directions & IPVSD_CAPTURE_IN) {
		size = length < filter.snaplen ? length : filter.snaplen;
		BOUND(size, IPVSD_CAPTURE_SNAPLEN);
		if (!bpf_probe_read_kernel(passage->bytes, size, data))
			passage->captured.before_captured = size;
	}
	__builtin_memcpy(passage->counted, counters->count, sizeof(passage->counted));
	passage->context = (__u64)ctx[0];
	return 0;
}

/* Returns bit n for each counter n that has increased since the packet came in. The code has no branches, as the
 * verifier would follow both sides of each. */
static __always_inline __u64 counted(const struct passage *passage, const struct ipvsd_counters *counters)
{
	__u64 bits = 0;

#pragma unroll
	for (int i = 0; i < IPVSD_COUNTERS; i++) {
		__u64 negative = passage->counted[i] - counters->count[i];

		asm volatile("" : "+r"(negative));
		bits |= negative >> 63 << i;
	}
	return bits;
}

static __always_inline void lose(__u32 interface)
{
	__u64 *count = bpf_map_lookup_elem(&losses, &interface), none = 0;

	if (!count) {
		bpf_map_update_elem(&losses, &interface, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&losses, &interface);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline bool is_for_wanted_server(const struct ipvsd_captured *captured)
{
	if (!filter.server || filter.server == captured->server)
		return true;
	return filter.server_is_local && captured->verdict == XDP_PASS && captured->counters >> IPVSD_FORWARDED & 1;
}

SEC("fexit/director")
int BPF_PROG(capture_exit, struct xdp_buff *xdp, int verdict)
{
	void *data = xdp->data;
	__u32 zero = 0, ip;
	__u64 before, after = 0, length = (__u64)xdp->data_end - (__u64)data;
	struct passage *passage = bpf_map_lookup_elem(&passages, &zero);
	struct ipvsd_counters *counters;
	struct ipvsd_captured *captured;
	__u64 *lost;

	if (!passage || passage->context != (__u64)ctx[0])
		return 0;
	passage->context = 0;
	counters = bpf_map_lookup_elem(&director_counters, &zero);
	if (!counters)
		return 0;
	captured = &passage->captured;
	captured->counters = counted(passage, counters);
	/* A packet without a counter was not for a VIP. */
	if (!(captured->counters >> IPVSD_RECEIVED & 1) || (filter.counters && !(captured->counters & filter.counters)))
		return 0;
	captured->left = bpf_ktime_get_ns();
	captured->verdict = verdict;
	before = captured->before_captured;
	BOUND(before, IPVSD_CAPTURE_SNAPLEN);
	if (verdict != XDP_TX && verdict != XDP_REDIRECT) {
		if (!(filter.directions & IPVSD_CAPTURE_IN))
			return 0;
	} else {
		captured->after_length = length;
		if (captured->counters >> IPVSD_FORWARDED & 1) {
			__u64 size = length;

			BOUND(size, HEAD);
			if (bpf_probe_read_kernel(passage->head, size, data))
				return 0;
			ip = find_ip(passage, size);
			captured->server = ip ? head_u32(passage, ip + offsetof(struct iphdr, daddr), size) : 0;
		}
		if (filter.directions & IPVSD_CAPTURE_OUT) {
			after = length < filter.snaplen ? length : filter.snaplen;
			BOUND(after, IPVSD_CAPTURE_SNAPLEN);
			if (bpf_probe_read_kernel(passage->bytes + before, after, data))
				after = 0;
			captured->after_captured = after;
		}
	}
	if (!is_for_wanted_server(captured))
		return 0;
	lost = bpf_map_lookup_elem(&losses, &captured->ingress);
	captured->lost = lost ? *lost : 0;
	if (bpf_ringbuf_output(&ring, captured, sizeof(*captured) + before + after, 0))
		lose(captured->ingress);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
