/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The maps; whoever loads them says how large those of one entry are to be. Look-ups in plain arrays are inlined by the
 * verifier. A call costs 20 ns and more where the processor's returns are mitigated, so that a packet of a connection
 * makes none. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "ipvsd_abi.h"

/* Variables, and so read without a look-up; to the control plane maps like the others. */
struct ipvsd_settings settings SEC(".data.settings");
struct ipvsd_pressure pressure SEC(".data.pressure");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct ipvsd_service_key);
	__type(value, struct ipvsd_service_value);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_listener_bucket);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_service);
} schedules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_slots);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_server);
} servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_load);
} loads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_path);
} paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_statistics);
} statistics SEC(".maps");

/* What the statistics were before their table grew. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_statistics);
} carried SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_bucket);
} flows SEC(".maps");

/* The smaller table before it, while flows are moved. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_bucket);
} former SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ipvsd_overflow);
} overflows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct ipvsd_template_key);
	__type(value, struct ipvsd_template);
} templates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, IPVSD_FRAGMENTED);
	__type(key, struct ipvsd_datagram);
	__type(value, struct ipvsd_fragments);
} fragments SEC(".maps");

/* Ports of any-port services on which a client's handshake was seen to complete. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, IPVSD_LEARNT_PORTS);
	__type(key, struct ipvsd_port);
	__type(value, __u64);
} learnt_ports SEC(".maps");

/* Learnt ports that have answered a check, for the daemon that comes after. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, IPVSD_ANSWERED_PORTS);
	__type(key, struct ipvsd_port);
	__type(value, __u64);
} answered_ports SEC(".maps");

/* Interfaces that packets may leave by, keyed by ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} egress SEC(".maps");
