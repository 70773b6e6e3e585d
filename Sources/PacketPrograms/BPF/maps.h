/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps that outlive the daemon. Where max_entries is 1 here, the daemon may set another number before it loads the
 * programs. The verifier inlines look-ups in plain arrays. A call costs 20 ns and more where the processor's returns
 * are mitigated. So the search for the listener and the flow of a packet usually makes no call.
 *
 * "daemon" stands for the control plane, "director" for the packet program with its sweep, "checks" for check.bpf.c. */
#pragma once

#include <stdbool.h>

#include "ipvsd_words.h"
#include "map_types.h"

/* Variables, which are read without a look-up. To the daemon they are maps like the others. */

/* Written by the daemon, read by all programs. */
struct ipvsd_settings settings SEC(".data.settings");
/* Written and read by the director, and read by the daemon. The daemon also adds to half_open where it moves flows,
 * counts the confirmed templates, and clears templates_full where it has freed confirmed templates. */
struct ipvsd_table_load table_load SEC(".data.table_load");

/* The service of each VIP, port and protocol. Written by the daemon; read by checks and the stray program, and by the
 * director where listener_cache has no room. */
HASH(listeners, struct ipvsd_listener_key, struct ipvsd_listener_value, 1, 0);
/* The listeners in buckets that are searched without a call. Written by the daemon, read by the director. */
MMAP_ARRAY(listener_cache, struct ipvsd_listener_bucket);
/* Written by the daemon, except the cursor and the memory of lblc and lblcr, which the daemon only clears. Read by the
 * director. */
MMAP_ARRAY(services, struct ipvsd_service);
/* The schedulers' tables. Written by the daemon, read by the director. */
MMAP_ARRAY(slots, struct ipvsd_slots);
/* Written by the daemon, except the packet programs' own fields. Of these fields, the daemon writes `overloaded` where
 * thresholds change, and clears the memory of lblcr. Read by the director and checks. */
MMAP_ARRAY(servers, struct ipvsd_server);
/* By server id. Written and read by the director and the daemon. The daemon writes for a new row, where it moves flows,
 * and where the table grows. */
MMAP_ARRAY(conn_counts, struct ipvsd_conn_counts);
/* Written by the daemon, read by the director and checks. */
MMAP_ARRAY(next_hops, struct ipvsd_next_hop);
/* By next hop: the next number for outer packets (ipvsd_ids.h). Written by director and checks, and by the daemon for a
 * new row and where the table grows. */
MMAP_ARRAY(outer_ids, __u32);
/* By next hop: the next number of the CPU's block. A multiple of IPVSD_ID_BLOCK means that the block is used up.
 * Written and read by director and checks, and cleared by the daemon for a new row. */
PERCPU_ARRAY(id_blocks, __u32, 1);
/* By server id. Written by the director, and cleared by the daemon for a new row; read by the daemon. */
PERCPU_ARRAY(statistics, struct ipvsd_statistics, 1);
/* The statistics from before their table grew. Written and read by the daemon alone. */
MMAP_ARRAY(carried, struct ipvsd_statistics);
/* Written by the director, read by the daemon and captures. */
PERCPU_ARRAY(counters, struct ipvsd_counters, 1);
/* The sums of the previous layout's counters. Written and read by the daemon alone. */
MMAP_ARRAY(carried_counters, struct ipvsd_counters);
/* Written and read by the director. The daemon reads it, and writes where the table grows or its layout is migrated. */
MMAP_ARRAY(flows, struct ipvsd_bucket);
/* The former, smaller flow table, while flows are moved. Written and read by the director and the daemon. */
MMAP_ARRAY(old_flows, struct ipvsd_bucket);
/* The marks of the flow table's buckets. Written and read by the director and the daemon. */
MMAP_ARRAY(overflows, struct ipvsd_overflow);
/* Written and read by the director; copied by the daemon where the table grows. */
LRU_HASH(templates, struct ipvsd_template_key, struct ipvsd_template, 1);
/* The templates of proven clients. Written and read by the director. The daemon copies them, and frees expired ones. */
HASH(confirmed_templates, struct ipvsd_template_key, struct ipvsd_template, 1, 0);
/* The real servers of datagrams whose later fragments may come. Written and read by the director. */
LRU_HASH(fragments, struct ipvsd_datagram, struct ipvsd_fragments, IPVSD_FRAGMENTED);
/* The ports of any-port services on which a client's handshake completed. Written by the director. The daemon reads and
 * removes them. */
HASH(learnt_ports, struct ipvsd_port, __u64, IPVSD_LEARNT_PORTS, 0);
/* The learnt ports that have answered a check. Written by the daemon for the next daemon. */
HASH(answered_ports, struct ipvsd_port, __u64, IPVSD_ANSWERED_PORTS, BPF_F_NO_PREALLOC);
/* The interfaces without the director, with the VIPs that are watched there. Written by the daemon. The stray program
 * counts in them. */
HASH(strays, struct ipvsd_stray_key, struct ipvsd_stray, IPVSD_STRAYS, BPF_F_NO_PREALLOC);
/* The interfaces by which packets may leave, keyed by ifindex. Written by the daemon, read by the director. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} egress SEC(".maps");

static __always_inline bool may_be_vip(__be32 address) { return ipvsd_filter_has(settings.vip_filter, address); }
