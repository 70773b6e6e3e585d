/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The owner of a packet: no VIP, a VIP, or a service. */
#pragma once

#include "constants.h"
#include "maps.h"
#include "packet.h"
#include "trace.h"

union service_value {
	struct ipvsd_listener_value value;
	__u64 word;
};

/* Whether this VIP, port and protocol have a listener, whose value is then in `found`. Port and protocol may be 0, as
 * in struct ipvsd_listener_key. */
static __always_inline bool find_service(__be32 vip, __be16 port, __u8 protocol, struct ipvsd_listener_value *found)
{
	__u64 wanted = ipvsd_listener_word(vip, port, protocol);
	__u32 index = ipvsd_listener_index(wanted, constants.listener_shift);
	struct ipvsd_listener_bucket *bucket = bpf_map_lookup_elem(&listener_cache, &index);
	union service_value *slow;

	if (!bucket)
		return false;
#pragma unroll
	for (int i = 0; i < IPVSD_LISTENER_WAYS; i++) {
		volatile struct ipvsd_cached_listener *entry = &bucket->way[i];
		__u64 key = entry->key;
		union service_value value;

		if (!key)
			return false;
		if (key != wanted)
			continue;
		value.word = entry->value;
		/* The key is read again, as another service may have taken the entry meanwhile. */
		if (entry->key != wanted)
			continue;
		*found = value.value;
		return true;
	}
	slow = bpf_map_lookup_elem(&listeners, &wanted);
	if (slow)
		*found = (union service_value){ .word = slow->word }.value;
	return slow != NULL;
}

static __always_inline bool find_listener(__be32 vip, __be16 port, __u8 protocol, struct ipvsd_listener_value *found)
{
	return find_service(vip, port, protocol, found) || find_service(vip, 0, protocol, found);
}

static __always_inline void trace_listener(const struct ipvsd_listener_value *listener)
{
	TRACE(trace.service = listener->service);
	TRACE(trace.service_flags = listener->flags);
}

/* Whether the address is a VIP, whatever ports and protocols its services have. */
static __always_inline bool is_vip(__be32 address)
{
	struct ipvsd_listener_value found;

	return may_be_vip(address) && find_service(address, 0, 0, &found);
}

/* Whether the frame is for the director. Frames for other hosts also come in: on a bridge's port, by a switch that
 * floods, or on a promiscuous interface. The kernel calls them PACKET_OTHERHOST, and IPVS leaves them alone. Where
 * own_mac is not set, all frames are for the director. */
static __always_inline bool is_for_director(const struct ethhdr *ethernet)
{
	/* The load includes two bytes of the source, which are shifted out. */
	__u64 destination = *(const __u64 *)ethernet;
	bool ours = !settings.own_mac[0];

	if (!((destination ^ settings.own_mac[0]) << 16))
		return true;
#pragma unroll
	for (int i = 1; i < IPVSD_OWN_MACS; i++)
		ours |= !((destination ^ settings.own_mac[i]) << 16);
	return ours;
}

/* Whether the frame is for a macvlan that has no VIP now, such as a VRRP backup's. For such a macvlan, own_mac has the
 * complement of the MAC. The complement is a group address, which is_for_director finds in no frame for a host. */
static __always_inline bool is_for_idle_macvlan(const struct ethhdr *ethernet)
{
	__u64 destination = *(const __u64 *)ethernet;
	bool idle = false;

#pragma unroll
	for (int i = 1; i < IPVSD_OWN_MACS; i++)
		idle |= !(~(destination ^ settings.own_mac[i]) << 16);
	return idle;
}
