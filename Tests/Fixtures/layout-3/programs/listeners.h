/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Whose a packet is: nobody's VIP, a VIP, a service. */
#pragma once

#include "maps.h"
#include "packet.h"

union service_value {
	struct ipvsd_service_value value;
	__u64 word;
};

/* Whether there is such a service, and what it is. */
static __always_inline int find_service(__be32 vip, __be16 port, __u8 protocol, struct ipvsd_service_value *found)
{
	/* struct ipvsd_service_key, put together in a register: what was stored in parts is slow to load whole. */
	__u64 wanted = vip | (__u64)port << 32 | (__u64)protocol << 48;
	__u32 index = wanted * 0x9E3779B97F4A7C15ull >> constants.listener_shift;
	struct ipvsd_listener_bucket *bucket = bpf_map_lookup_elem(&listeners, &index);
	struct ipvsd_service_value *slow;

	if (!bucket)
		return 0;
#pragma unroll
	for (int i = 0; i < IPVSD_LISTENER_WAYS; i++) {
		volatile struct ipvsd_listener *entry = &bucket->way[i];
		__u64 key = entry->key;
		union service_value value;

		if (!key)
			return 0;
		if (key != wanted)
			continue;
		value.word = entry->value;
		/* Not another service's that took the entry just now. */
		if (entry->key != wanted)
			continue;
		*found = value.value;
		return 1;
	}
	slow = bpf_map_lookup_elem(&services, &wanted);
	if (slow)
		*found = *slow;
	return slow != 0;
}

static __always_inline int find_listener(__be32 vip, __be16 port, __u8 protocol, struct ipvsd_service_value *found)
{
	return find_service(vip, port, protocol, found) || find_service(vip, 0, protocol, found);
}

static __always_inline int may_be_vip(__be32 address)
{
	__u32 bit = address * 0x9E3779B1u >> 16;

	return settings.vip_filter[bit >> 6 & 1023] >> (bit & 63) & 1;
}

/* Frames for other hosts come by, too: on a bridge's port, by a switch that floods, on an interface that is promiscuous.
 * The kernel calls them PACKET_OTHERHOST, and IPVS leaves them alone. No addresses set: whatever comes is for us. */
static __always_inline int is_for_director(const struct ethhdr *ethernet)
{
	/* With two bytes of the source, which are shifted out. */
	__u64 destination = *(const __u64 *)ethernet;
	int ours = !settings.own_mac[0];

	if (!((destination ^ settings.own_mac[0]) << 16))
		return 1;
#pragma unroll
	for (int i = 1; i < IPVSD_OWN_MACS; i++)
		ours |= !((destination ^ settings.own_mac[i]) << 16);
	return ours;
}
