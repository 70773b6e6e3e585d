/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The layouts that the packet programs and the control plane share. Fields of a `__be` type are in network byte order,
 * all others in the host's. Index and id 0 mean "not set" everywhere, so that a zeroed row is safe. Four headers define
 * other rows: ipvsd_capture.h those of captures, ipvsd_checks.h those of checks, ipvsd_trace.h the trace, and
 * ipvsd_layout_3.h what differs in layout 3. ipvsd_words.h packs several fields of a row into one word, ipvsd_hash.h
 * has the hashes, and ipvsd_ids.h says how outer packets get their identifications. */
#pragma once

#include <linux/types.h>

#include "ipvsd_hash.h"
#include "ipvsd_ids.h"

/* The number of this layout, which every change to a structure below raises. A daemon migrates a data plane of an older
 * layout (LayoutMigration.swift), and refuses one of a newer layout. */
#define IPVSD_ABI_VERSION 4
/* The oldest layout that a daemon migrates. It refuses older ones. */
#define IPVSD_OLDEST_ABI_VERSION 3

/* The tables of services, real servers, next hops, slots and flows follow the configuration: the daemon sizes them when
 * it loads the programs. The numbers of flow buckets and of listener buckets are powers of two. */
#define IPVSD_WAYS 8 /* entries of a bucket, as in a set-associative cache */
#define IPVSD_HALF 4 /* ways of half a bucket, which is a cache line */
#define IPVSD_LEARNT_PORTS 1024
#define IPVSD_ANSWERED_PORTS 16384
#define IPVSD_FRAGMENTED 16384   /* datagrams whose fragments are on their way */
#define IPVSD_SWEEP_BUCKETS 1024 /* buckets of one run of the sweep; the smallest flow table has as many */
#define IPVSD_CHECK_ADDRESSES 8
#define IPVSD_OWN_MACS 8
#define IPVSD_LIST_LIMIT 1024  /* most real servers of a service whose scheduler compares them, such as lc */
#define IPVSD_RING_LIMIT 4096  /* most slots of a ring */
#define IPVSD_REDRAWS 8        /* the most further draws of twos, while a drawn real server is not available */
#define IPVSD_ENCAPSULATION 20 /* bytes of the outer header */

/* A tick of flow stamps is 2^28 ns, 0.27 s. Time-outs are at most 32,767 ticks: 2 h 26 min. */
#define IPVSD_TICK_SHIFT 28
#define IPVSD_TIMEOUT_LIMIT 32767
/* About one second. A half-open connection to a server that is down is freed after it was idle for this time. */
#define IPVSD_ABANDONED_TICKS 4

/* Marks of check sockets: IPVSD_CHECK_MARK | server id. */
#define IPVSD_CHECK_MARK 0x6b700000u
#define IPVSD_CHECK_MARK_MASK 0xffff0000u

/* ---- Flow table ---- */

/* An entry of the flow table. ipvsd_flow_key and ipvsd_flow_value in ipvsd_words.h pack its words. An entry with value
 * 0 is free. */
struct ipvsd_flow {
	__u64 key;
	__u64 value;
};

/* Two cache lines, which processors fetch together. A flow is in the half that its hash names. Where that half had no
 * room, the flow is in the other half. Where the bucket had no room, the flow is in its second bucket, which its hash
 * also names. */
struct ipvsd_bucket {
	struct ipvsd_flow way[IPVSD_WAYS];
};

/* The marks of IPVSD_OVERFLOW_BUCKETS successive buckets. A mark is a tick, and 1 for tick 0, since 0 stands for "never
 * or too long ago". `stamp`: a flow of the bucket last found no room, or gave way. `spilled`: a flow of the bucket was
 * last recorded or refreshed in its second bucket. */
#define IPVSD_OVERFLOW_BUCKETS 32

struct ipvsd_overflow {
	__u16 stamp[IPVSD_OVERFLOW_BUCKETS];
	__u16 spilled[IPVSD_OVERFLOW_BUCKETS];
};

/* The TCP states are those of IPVS's input-only table (ip_vs_proto_tcp.c), since replies are not seen. The other states
 * follow them. */
enum ipvsd_state {
	IPVSD_STATE_NONE,
	IPVSD_STATE_SYN_RECV,
	IPVSD_STATE_ESTABLISHED,
	IPVSD_STATE_FIN_WAIT,
	IPVSD_STATE_TIME_WAIT,
	IPVSD_STATE_CLOSE,
	IPVSD_STATE_UDP,
	/* As ESTABLISHED and UDP, but for flows that may stem from a spoofed packet. BARE_ACK: only an ACK without
	 * data, or one packet without a beginning, has come. ONE_DATAGRAM: only one datagram has come. */
	IPVSD_STATE_BARE_ACK,
	IPVSD_STATE_ONE_DATAGRAM,
	IPVSD_STATE_MAX = 16,
};

/* ---- Services ---- */

/* The key of a listener. With port 0 and protocol 0, the key stands for the VIP itself. With port 0 and a protocol, it
 * stands for the VIP's any-port service. */
struct ipvsd_listener_key {
	__be32 vip;
	__be16 port;
	__u8 protocol;
	__u8 reserved;
};

/* `destination` numbers the pair of VIP and protocol. All listeners of a pair share the number. So a flow of an
 * any-port service is still found after its port has got a listener of its own. */
struct ipvsd_listener_value {
	__u16 service;
	__u16 former; /* the number in its flow keys of layout 3, during a migration; 0: the same as `destination` */
	__u16 destination;
	__u16 flags; /* IPVSD_SERVICE_ */
};

#define IPVSD_SERVICE_ANY_PORT 1u
/* The fate of a TCP connection whose real server is down. RESETS: the client gets a reset. REHASHES: another real
 * server gets the connection. Without both flags, the connection keeps its real server. A SYN is scheduled anew in any
 * case. */
#define IPVSD_SERVICE_RESETS 2u
#define IPVSD_SERVICE_REHASHES 4u
/* The service is persistent: a client's new connections go to the real server of its last one (ipvsadm -p). */
#define IPVSD_SERVICE_PERSISTENT 8u
/* Every datagram is scheduled by itself, and none is recorded (ipvsadm -o). */
#define IPVSD_SERVICE_ONE_PACKET 16u
/* Datagrams of a recorded flow still go to a real server with IPVSD_SERVER_LEFT, unless it is down. They do not refresh
 * the flow's entry, which so expires. Without this flag, such datagrams are scheduled anew. */
#define IPVSD_SERVICE_FINISHES 32u

/* The listeners in an array of buckets, which the packet program searches without a call. An entry has a listener's key
 * and value as words. A search of a bucket ends at an entry that was never used, which has key 0. Where the bucket is
 * full of other keys, the map `listeners` is searched. An entry's value is written before its key. */
struct ipvsd_cached_listener {
	__u64 key;
	__u64 value;
};

#define IPVSD_LISTENER_WAYS 4
#define IPVSD_LISTENER_REMOVED (~0ull) /* the key of an entry whose listener was removed */

struct ipvsd_listener_bucket {
	struct ipvsd_cached_listener way[IPVSD_LISTENER_WAYS];
};

enum ipvsd_scheduler {
	IPVSD_SCHEDULER_NONE,
	IPVSD_SCHEDULER_RING, /* rr, wrr, dh: slots in turn */
	IPVSD_SCHEDULER_TWOS, /* two random slots of the ring */
	IPVSD_SCHEDULER_LC,   /* from here to LBLCR the slots are the list of real servers */
	IPVSD_SCHEDULER_WLC,
	IPVSD_SCHEDULER_SED,
	IPVSD_SCHEDULER_NQ,
	IPVSD_SCHEDULER_OVF,
	IPVSD_SCHEDULER_FO, /* the list has the highest weight first */
	IPVSD_SCHEDULER_LBLC,
	IPVSD_SCHEDULER_LBLCR,
	IPVSD_SCHEDULER_SH, /* 256 slots, by the client's address */
	IPVSD_SCHEDULER_MH, /* the Maglev table, by the client's address */
};

#define IPVSD_SCHEDULER_BY_PORT 0x80u  /* sh-port, mh-port: the hash includes the client's port */
#define IPVSD_SCHEDULER_FALLBACK 0x40u /* sh-fallback, mh-fallback: skips servers that take no new connections */

/* `schedule` names the slice of the scheduler's table, and `maglev` that of the Maglev table (ipvsd_slice). One 64-bit
 * store swaps a slice. The scheduler bits of `maglev` are 0. */
struct ipvsd_service {
	__u64 schedule;
	__u64 maglev;
	__u64 cursor;      /* turns in the ring, or draws of twos, so far; the packet program's own */
	__u64 name;        /* the scheduler's, in ASCII; the control plane's own, for adoption */
	__u32 persistence; /* the time-out of templates in ticks; 0: not persistent */
	__be32 netmask;    /* clients whose addresses are equal in its one bits share a template */
	/* The memory of lblc and lblcr, for the packet programs only. Times are in 2^IPVSD_LOCALITY_SHIFT ns. Each
	 * server that joins lblcr's set gets the next number. */
	__u32 cached;  /* lblc: the id of the VIP's server. lblcr: the number of the last server that joined */
	__u32 emptied; /* lblcr: servers with numbers up to this one are no longer in the set */
	__u32 changed; /* lblcr: the time when a server last joined or left the set */
	__u32 used;    /* the time of the last choice of a server */
	__u64 reserved;
};

#define IPVSD_LOCALITY_SHIFT 32
/* One day in units of 2^IPVSD_LOCALITY_SHIFT ns, as sysctl_lblc_expiration and sysctl_lblcr_expiration. */
#define IPVSD_LOCALITY_EXPIRATION 20117u

/* The key of the maps `templates` and `confirmed_templates`: a persistent service, and a client's address, masked by
 * the service's netmask. */
struct ipvsd_template_key {
	__be32 client;
	__u32 service;
};

struct ipvsd_template {
	__u32 server;
	__u32 stamp; /* the tick at which the template was used last */
};

/* The key of the map `fragments`: the fields that identify a datagram (RFC 791). */
struct ipvsd_datagram {
	__be32 source;
	__be32 destination;
	__be16 id;
	__u8 protocol;
	__u8 reserved;
};

struct ipvsd_fragments {
	__u32 server; /* the id, or FRAGMENT_PASSED (fragments.h) */
	__u32 stamp;  /* the tick at which the first fragment came */
};

#define IPVSD_FRAGMENT_TICKS 112 /* 30 s, as net.ipv4.ipfrag_time */

/* The number of ticks without a completed handshake after which a server may count as silent. */
#define IPVSD_SILENT_TICKS 2

#define IPVSD_SLOT_GROUP 4

/* A slot is a server id. */
struct ipvsd_slots {
	__u16 server[IPVSD_SLOT_GROUP];
};

/* ---- Real servers: one row for each real server of each service (ip_vs_dest) ---- */

/* The first eight bytes are one word, written by one store. */
struct ipvsd_server {
	__u32 next_hop;
	__u16 weight; /* effective */
	__u16 flags;  /* IPVSD_SERVER_ */
	/* The next three fields are for adoption by the control plane. The packet program also compares `service` with
	 * the service of a template. */
	__be32 address;
	__u16 service;
	__u16 configured_weight;
	/* The next eight bytes are one word, too. Thresholds count active and inactive connections. `upper_threshold`
	 * 0: the server has no thresholds. */
	__u32 upper_threshold;
	__u32 lower_threshold; /* never 0 where `upper_threshold` is not */
	/* For the packet programs only. */
	__u32 overloaded; /* 1: from the upper threshold on, until a connection begins below the lower one */
	__u32 joined;     /* the number of the server in lblcr's set; 0: it never joined, or was removed */
};

#define IPVSD_SERVER_USED 1u
#define IPVSD_SERVER_DOWN 2u             /* SYNs and datagrams of its flows are scheduled anew */
#define IPVSD_SERVER_REMOVED 4u          /* no longer configured; its TCP connections go on, and datagrams leave it */
#define IPVSD_SERVER_STANDBY 8u          /* beside REMOVED: the server is configured, but not in use now */
#define IPVSD_SERVER_MOVES 16u           /* persistent clients go elsewhere with their next connection */
#define IPVSD_SERVER_MOVES_DATAGRAMS 32u /* the wait for the server's drain has ended: datagrams leave it */
#define IPVSD_SERVER_LEFT (IPVSD_SERVER_REMOVED | IPVSD_SERVER_MOVES_DATAGRAMS)
#define IPVSD_SERVER_OUT (IPVSD_SERVER_DOWN | IPVSD_SERVER_REMOVED)
/* The flags of a real server whose templates do not count, for new connections of TCP and for datagrams. */
#define IPVSD_SERVER_LEFT_BY_CONNECTIONS (IPVSD_SERVER_OUT | IPVSD_SERVER_MOVES)
#define IPVSD_SERVER_LEFT_BY_DATAGRAMS (IPVSD_SERVER_LEFT_BY_CONNECTIONS | IPVSD_SERVER_MOVES_DATAGRAMS)
/* The upper bits count the tenths of the server's share that slow start withholds: 0 to 9. Only the control plane uses
 * them. */
#define IPVSD_SERVER_WITHHELD_SHIFT 12

/* The connections of a real server, active and inactive as IPVS counts them. All CPUs share them. For the packet
 * programs only. */
struct ipvsd_conn_counts {
	__u32 active;
	__u32 inactive;
	__u32 unanswered; /* SYNs since the last completed handshake */
	__u32 completed;  /* the lower 16 bits of the tick at which that handshake completed */
};

/* The path to a real server, in one cache line. Rows are immutable while a server names them, since 12 bytes of MAC
 * cannot be stored at once. */
struct ipvsd_next_hop {
	__u8 eth_addrs[12]; /* the destination's MAC, then the source's */
	__u32 ifindex;      /* the interface that frames leave by: below a VLAN device, or a bridge's port */
	__be32 source;
	__be32 destination;
	__u32 mtu;           /* of the outer packet, IP header included */
	__u32 flags;         /* IPVSD_NEXT_HOP_ */
	__u64 tags;          /* the bytes between MACs and type: TPID, TCI, and perhaps another such pair */
	__u32 tag_length;    /* the bytes of `tags` in use: 0, 4 or 8 */
	__u32 route_ifindex; /* the interface that the route names, for checks, whose frames the kernel builds */
	__u32 reserved[4];
};

#define IPVSD_NEXT_HOP_RESOLVED 1u /* the next hop's MAC is known */
#define IPVSD_NEXT_HOP_TRANSMIT 2u /* a packet that came in by `ifindex` leaves by XDP_TX, any other by redirect */
#define IPVSD_NEXT_HOP_LOCAL 4u    /* the director itself (IPVS's localnode); never RESOLVED */

/* ---- Counters, one set for each CPU ---- */

struct ipvsd_statistics {
	__u64 connections;
	__u64 packets;
	__u64 bytes; /* of inner IP packets, IP headers included */
};

/* While no packet is under way, received = forwarded + passed + answered + dropped. The control plane tells the groups
 * apart by this order. */
enum ipvsd_counter {
	IPVSD_RECEIVED,
	IPVSD_FORWARDED, /* handed to a driver, or to the kernel for fragmentation or for the local node */
	/* passed to the director's own stack */
	IPVSD_PASSED_NO_SERVICE,
	IPVSD_PASSED_UNKNOWN_PROTOCOL,
	IPVSD_PASSED_ICMP_OTHER,
	/* answered by the packet program */
	IPVSD_ANSWERED_ECHO,
	IPVSD_ANSWERED_NO_CONNECTION, /* by RST */
	IPVSD_ANSWERED_SERVER_LOST,   /* by RST */
	IPVSD_ANSWERED_NO_SERVER,     /* by ICMP port unreachable */
	IPVSD_ANSWERED_TOO_BIG,       /* by ICMP fragmentation needed */
	/* dropped */
	IPVSD_DROPPED_BAD_HEADER,
	IPVSD_DROPPED_TRUNCATED,
	IPVSD_DROPPED_MARTIAN_SOURCE, /* the source is impossible, or a VIP */
	IPVSD_DROPPED_FRAGMENT,       /* a later fragment whose first one was not seen */
	IPVSD_DROPPED_MERGED_FRAME,
	IPVSD_DROPPED_TOO_BIG_WITHOUT_DF,
	IPVSD_DROPPED_TOO_BIG_ICMP_ERROR,
	IPVSD_DROPPED_NO_NEXT_HOP,
	IPVSD_DROPPED_RESET_WITHOUT_CONNECTION,
	IPVSD_DROPPED_ICMP_WITHOUT_CONNECTION,
	IPVSD_DROPPED_ICMP_MALFORMED,
	IPVSD_DROPPED_REPLY_LIMIT,
	IPVSD_DROPPED_INTERNAL,
	/* events: packets that are also counted above */
	IPVSD_EVENT_FLOW_TABLE_FULL,
	IPVSD_EVENT_FLOW_EVICTED,
	IPVSD_EVENT_REDERIVED, /* packets without an entry; a template, sh's or the Maglev table named their server */
	IPVSD_EVENT_RESCHEDULED,
	IPVSD_EVENT_RESCHEDULED_SILENT,
	IPVSD_EVENT_ICMP_RELAYED,
	IPVSD_EVENT_UNRECORDED, /* SYNs while too many connections were half-open */
	IPVSD_EVENT_FRAGMENTED, /* encapsulated, and left to the kernel for fragmentation */
	IPVSD_COUNTERS,
};

/* The number of counters for which a row has room, so that a new counter needs no new layout. */
#define IPVSD_COUNTER_ROOM 64

struct ipvsd_counters {
	__u64 count[IPVSD_COUNTER_ROOM];
};

/* ---- One row of settings that outlives the daemon ---- */

struct ipvsd_settings {
	__u32 abi_version;
	__u32 ingress_mtu;
	__u64 seed; /* of the flow table's hash; secret, since a client that knew it could fill a bucket */
	__u16 timeout[IPVSD_STATE_MAX]; /* ticks */
	__be32 check_address[IPVSD_CHECK_ADDRESSES];
	/* The number of unanswered SYNs from which on a server is silent. A SYN that is repeated to a silent server is
	 * scheduled anew. 0: no server is silent. */
	__u32 silent_after;
	/* The number of half-open connections from which on new ones are not recorded. 0: no limit. */
	__u32 half_open_limit;
	/* The interface for encapsulated packets that exceed their next hop's MTU and may be fragmented; 0: they are
	 * dropped. fragmenting_mac has the MAC of the interface's peer in its first six bytes. */
	__u32 fragmenting_ifindex;
	__u8 fragmenting_mac[8];
	__u32 is_migrating;                   /* flows may still be in old_flows, or have their former keys */
	__u64 vip_filter[IPVSD_FILTER_WORDS]; /* for ipvsd_filter_has, which tells VIPs from most other addresses */
	/* The destination MACs of frames for the director (ipvsd_mac_word). Where the first word is 0, all frames are
	 * for the director. The complement of a MAC's word stands for a macvlan with this MAC that has no VIP now. */
	__u64 own_mac[IPVSD_OWN_MACS];
};

/* The key of the maps `learnt_ports` and `answered_ports`. In learnt_ports, `id` is the service, and the value is the
 * time of the last handshake (CLOCK_MONOTONIC, ns). In answered_ports, which only the control plane uses, `id` is the
 * real server, and the value is 1. */
struct ipvsd_port {
	__u32 id;
	__be16 port;
	__u16 reserved;
};

/* The key of the map `strays`: an interface without the packet program, and a VIP that is watched there. */
struct ipvsd_stray_key {
	__u32 ifindex;
	__be32 vip;
};

struct ipvsd_stray {
	/* Both for the stray program only. */
	__u64 packets; /* packets for a service of the VIP that came in there */
	__u64 last;    /* the time of the last of them (CLOCK_MONOTONIC, ns) */
	__u32 flags;   /* IPVSD_STRAY_ */
	__u32 reserved;
};

#define IPVSD_STRAY_SILENT 1u /* ARP requests for the VIP get no answer there */
#define IPVSD_STRAYS 16384

/* The load of the flow table and of confirmed_templates, such as by a flood. Times are 32-bit ticks; 0 stands for
 * "never". */
struct ipvsd_table_load {
	__u32 half_open; /* connections in SYN_RECV */
	__u32 since;     /* time of the first unrecorded SYN of the flood that `last` belongs to */
	__u32 last;      /* time of the last SYN that was not recorded, as half_open had reached the limit */
	/* Without a daemon, packets of new flows run the sweep, one part of it in a tick. */
	__u32 last_daemon_gc; /* time of the last run of the sweep by the daemon */
	__u32 last_inline_gc; /* time of the last run of the sweep by packets */
	__u32 templates_full; /* time when a client last found no room in confirmed_templates; cleared by the daemon */
	__u32 templates_used; /* rows of confirmed_templates at the daemon's last count; the daemon's own */
	__u32 reserved[9];
};

/* The time without a sweep by the daemon after which the daemon counts as absent: 16 s. */
#define IPVSD_ABSENT_TICKS 60

/* The time for which newcomers get no template after a confirmed template found no room: 16 s. */
#define IPVSD_FULL_TICKS 60

/* The longest time between two unrecorded SYNs of one flood: 10 s. */
#define IPVSD_FLOOD_GAP 37

/* ---- .rodata of the programs ---- */

struct ipvsd_director_constants {
	__u32 bucket_mask;        /* the number of buckets of the flow table, less one */
	__u32 old_bucket_mask;    /* the same for old_flows, the smaller table that the flow table replaces */
	__u32 listener_shift;     /* 64 less the binary logarithm of the number of listener buckets */
	__u32 answer_by_redirect; /* 1: an ingress interface is a veth, where an answer by XDP_TX would be lost */
	__u32 reply_limit;        /* most generated replies of each kind, per second and CPU */
	__u32 jiffy;              /* nanoseconds */
	__u32 several_ingress;    /* 1: a packet may come in by another interface than XDP_TX has to leave by */
	/* The outer source is outer_prefix | (hash of the flow & outer_mask). Mask 0: the path's own source. */
	__be32 outer_prefix;
	__be32 outer_mask;
	__u32 is_rekeying; /* where flows are before their move; 1: under keys of layout 3; 0: in old_flows */
};

struct ipvsd_check_constants {
	__u32 check_ifindex; /* of ipvsd0 */
	__u8 check_mac[8];   /* the MAC of ipvsd0, in the first six bytes */
};

/* ---- Contexts of the programs that the daemon runs: arguments and results ---- */

struct ipvsd_sweep_run {
	__u32 first; /* argument: the first of IPVSD_SWEEP_BUCKETS buckets */
};

struct ipvsd_tick_run {
	__u32 tick; /* result: the tick that flows are stamped with now */
};

_Static_assert(sizeof(struct ipvsd_bucket) == 128, "a bucket is two cache lines");
_Static_assert(sizeof(struct ipvsd_table_load) == 64, "counts that all CPUs write to have a cache line of their own");
_Static_assert(sizeof(struct ipvsd_listener_key) == 8, "map key layout");
_Static_assert(sizeof(struct ipvsd_listener_value) == 8, "map value layout");
_Static_assert(sizeof(struct ipvsd_template_key) == 8, "map key layout");
_Static_assert(sizeof(struct ipvsd_datagram) == 12, "map key layout");
_Static_assert(sizeof(struct ipvsd_stray_key) == 8, "map key layout");
_Static_assert(sizeof(struct ipvsd_stray) == 24, "map value layout");
_Static_assert(IPVSD_COUNTERS <= IPVSD_COUNTER_ROOM, "there is room for all counters");
_Static_assert(sizeof(struct ipvsd_listener_bucket) == 64, "a bucket is a cache line");
_Static_assert(sizeof(struct ipvsd_service) == 64, "map value layout");
_Static_assert(sizeof(struct ipvsd_server) == 32, "map value layout");
_Static_assert(sizeof(struct ipvsd_next_hop) == 64, "a next hop is a cache line");
_Static_assert(sizeof(struct ipvsd_director_constants) == 40, ".rodata layout");
_Static_assert(sizeof(struct ipvsd_check_constants) == 12, ".rodata layout");
