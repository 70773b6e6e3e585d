/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The layouts that the packet programs and the control plane share. Fields of a `__be` type are in network byte order,
 * all others in the host's. Index and id 0 mean "not set" everywhere, so that a zeroed row is safe. The other headers
 * have what belongs beside the rows. ipvsd_words.h has the fields of words, ipvsd_hash.h the hashes, and ipvsd_ids.h
 * the numbers of outer packets. ipvsd_capture.h and ipvsd_checks.h have the rows of captures and checks, and
 * ipvsd_layout_3.h the different rows of layout 3. */
#pragma once

#include <linux/types.h>

#include "ipvsd_hash.h"
#include "ipvsd_ids.h"

/* Raised by every change to a layout below. A daemon carries the data plane of an older version over (LayoutMigration.swift),
 * and refuses that of a newer one. */
#define IPVSD_ABI_VERSION 4
/* The oldest version that a daemon carries over. */
#define IPVSD_OLDEST_ABI_VERSION 3

/* The tables of services, real servers, next hops, slots and flows follow the configuration: the daemon sizes them when it
 * loads the programs. Flow and listener buckets are powers of two. */
#define IPVSD_WAYS 8 /* entries of a bucket, as in a set-associative cache */
#define IPVSD_HALF 4 /* ways of half a bucket, which is a cache line */
#define IPVSD_LEARNT_PORTS 1024
#define IPVSD_ANSWERED_PORTS 16384
#define IPVSD_FRAGMENTED 16384   /* datagrams whose fragments are on their way */
#define IPVSD_SWEEP_BUCKETS 1024 /* in one run of the sweep: the smallest flow table */
#define IPVSD_CHECK_ADDRESSES 8
#define IPVSD_OWN_MACS 8
#define IPVSD_LIST_LIMIT 1024  /* real servers that lc and its like compare */
#define IPVSD_RING_LIMIT 4096  /* slots of a ring */
#define IPVSD_REDRAWS 8        /* of twos, for a real server that is available */
#define IPVSD_ENCAPSULATION 20 /* bytes of the outer header */

/* A tick of flow stamps is 2^28 ns, 0.27 s. Time-outs are at most 32,767 ticks: 2 h 26 min. */
#define IPVSD_TICK_SHIFT 28
#define IPVSD_TIMEOUT_LIMIT 32767
/* One second. An idle handshake with a server that is down is over after this time. */
#define IPVSD_ABANDONED_TICKS 4

/* Marks of check sockets: IPVSD_CHECK_MARK | server id. */
#define IPVSD_CHECK_MARK 0x6b700000u
#define IPVSD_CHECK_MARK_MASK 0xffff0000u

/* ---- Flow table ---- */

/* The words have the fields of ipvsd_flow_key and ipvsd_flow_value. A value of 0 is free. */
struct ipvsd_flow {
	__u64 key;
	__u64 value;
};

/* Two cache lines, which processors fetch together. A flow is in the half that its hash names. Where that half had no
 * room, the flow is in the other half. Where the bucket had none, it is in the second bucket that its hash names. */
struct ipvsd_bucket {
	struct ipvsd_flow way[IPVSD_WAYS];
};

/* The marks of IPVSD_OVERFLOW_BUCKETS buckets, as ticks that are never 0. 0 is never, or too long ago. `stamp`: a flow
 * of the bucket last found no room. `spilled`: one of its flows was last recorded or refreshed in its second bucket. */
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
	/* As ESTABLISHED and UDP, but for flows that a spoofed packet may have made: by one ACK without data, or by one
	 * datagram. */
	IPVSD_STATE_BARE_ACK,
	IPVSD_STATE_ONE_DATAGRAM,
	IPVSD_STATE_MAX = 16,
};

/* ---- Services ---- */

/* With port and protocol 0 it is the VIP itself. With port 0 and a protocol it is the VIP's any-port service. */
struct ipvsd_listener_key {
	__be32 vip;
	__be16 port;
	__u8 protocol;
	__u8 reserved;
};

/* `destination` is the number of the VIP and the protocol, which all their listeners share. A flow of an any-port
 * service so outlives a new listener for its port. */
struct ipvsd_listener_value {
	__u16 service;
	__u16 former; /* the number of its flows in layout 3, while they are moved; 0 where it is `destination` */
	__u16 destination;
	__u16 flags; /* IPVSD_SERVICE_ */
};

#define IPVSD_SERVICE_ANY_PORT 1u
/* The fate of a TCP connection whose real server is down. Without either flag it is kept. */
#define IPVSD_SERVICE_RESETS 2u
#define IPVSD_SERVICE_REHASHES 4u
/* The service is persistent: a client's new connections go to the real server of its last one (ipvsadm -p). */
#define IPVSD_SERVICE_PERSISTENT 8u
/* Every datagram is scheduled by itself, and none is recorded (ipvsadm -o). */
#define IPVSD_SERVICE_ONE_PACKET 16u
/* Recorded flows of datagrams stay at a real server that they have to leave (IPVSD_SERVER_LEFT), without a refresh of
 * their entries. Without this flag they are scheduled anew. */
#define IPVSD_SERVICE_FINISHES 32u

/* The listeners as an array, which is searched without a call. An entry has the words of a key and of its value. The
 * search of a bucket ends at an entry that was never used (key 0). Where the bucket is full of other keys, the map of
 * listeners has the answer. The value of an entry is written before its key. */
struct ipvsd_cached_listener {
	__u64 key;
	__u64 value;
};

#define IPVSD_LISTENER_WAYS 4
#define IPVSD_LISTENER_REMOVED (~0ull)

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

#define IPVSD_SCHEDULER_BY_PORT 0x80u  /* sh-port, mh-port: by the client's port too */
#define IPVSD_SCHEDULER_FALLBACK 0x40u /* sh-fallback, mh-fallback: past a server that takes no new connections */

/* schedule and maglev are slices of the slots (ipvsd_slice), each swapped by one 64-bit store. maglev's scheduler bits
 * are 0. */
struct ipvsd_service {
	__u64 schedule;
	__u64 maglev;
	__u64 cursor;      /* of the ring; the packet programs' own */
	__u64 name;        /* of the scheduler, in ASCII; the control plane's own, for adoption */
	__u32 persistence; /* ticks */
	__be32 netmask;    /* of persistence: clients that differ in its zero bits are one */
	/* The memory of lblc and lblcr, for the packet programs only. Times are in 2^IPVSD_LOCALITY_SHIFT ns. */
	__u32 cached;  /* lblc: the VIP's server. lblcr: the number under which the last server joined the VIP's set */
	__u32 emptied; /* lblcr: who joined under a number up to this one is no longer in the set */
	__u32 changed; /* lblcr: when the set last changed */
	__u32 used;    /* when a server was last looked for */
	__u64 reserved;
};

#define IPVSD_LOCALITY_SHIFT 32
/* One day, as sysctl_lblc_expiration and sysctl_lblcr_expiration. */
#define IPVSD_LOCALITY_EXPIRATION 20117u

/* A row of templates and confirmed_templates: the real server of a client, or of its network, in a persistent
 * service. */
struct ipvsd_template_key {
	__be32 client;
	__u32 service;
};

struct ipvsd_template {
	__u32 server;
	__u32 stamp; /* tick at which it was last used */
};

/* A row of fragments: RFC 791's identification of a datagram. */
struct ipvsd_datagram {
	__be32 source;
	__be32 destination;
	__be16 id;
	__u8 protocol;
	__u8 reserved;
};

struct ipvsd_fragments {
	__u32 server;
	__u32 stamp; /* tick of the first one */
};

#define IPVSD_FRAGMENT_TICKS 112 /* 30 s, as net.ipv4.ipfrag_time */

/* A server counts as silent only after that many ticks without a completed handshake. */
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
	/* The next fields are for adoption by the control plane. Templates are also compared with `service`. */
	__be32 address;
	__u16 service;
	__u16 configured_weight;
	/* The next eight bytes are one word, too. Thresholds count active and inactive connections. `upper` 0: no
	 * thresholds. */
	__u32 upper_threshold;
	__u32 lower_threshold; /* never 0 where upper is not */
	/* For the packet programs only. */
	__u32 overloaded; /* the upper threshold was reached, and since then no connection came below the lower */
	__u32 joined;     /* the number under which it joined the set of lblcr; 0: never */
};

#define IPVSD_SERVER_USED 1u
#define IPVSD_SERVER_DOWN 2u             /* SYNs and datagrams of its flows are scheduled anew */
#define IPVSD_SERVER_REMOVED 4u          /* no longer configured; its TCP connections go on, datagrams leave it */
#define IPVSD_SERVER_STANDBY 8u          /* beside REMOVED: configured all the same, and not in use now */
#define IPVSD_SERVER_MOVES 16u           /* persistent clients go elsewhere with their next connection */
#define IPVSD_SERVER_MOVES_DATAGRAMS 32u /* the wait for its drain has ended: datagrams leave it */
#define IPVSD_SERVER_LEFT (IPVSD_SERVER_REMOVED | IPVSD_SERVER_MOVES_DATAGRAMS)
#define IPVSD_SERVER_OUT (IPVSD_SERVER_DOWN | IPVSD_SERVER_REMOVED)
/* The flags of real servers whose templates do not count for a new connection, and for datagrams. */
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
	__u32 unanswered; /* SYNs since a handshake completed */
	__u32 completed;  /* the tick of that handshake */
};

/* The path to a real server, in one cache line. Rows are immutable while a server names them, since 12 bytes of MAC
 * cannot be stored at once. */
struct ipvsd_next_hop {
	__u8 eth_addrs[12]; /* the destination's MAC, then the source's */
	__u32 ifindex;      /* that frames leave by: below a VLAN device, a port of a bridge */
	__be32 source;
	__be32 destination;
	__u32 mtu;           /* of the outer packet, IP header included */
	__u32 flags;         /* IPVSD_NEXT_HOP_ */
	__u64 tags;          /* the bytes between MACs and type: TPID, TCI, and perhaps another such pair */
	__u32 tag_length;    /* of them: 0, 4 or 8 */
	__u32 route_ifindex; /* the interface that the route names: of checks, whose frames the kernel builds */
	__u32 reserved[4];
};

#define IPVSD_NEXT_HOP_RESOLVED 1u /* the next hop's MAC is known */
#define IPVSD_NEXT_HOP_TRANSMIT 2u /* leaves by XDP_TX where it came in by ifindex; otherwise by redirect */
#define IPVSD_NEXT_HOP_LOCAL 4u    /* the director itself (IPVS's localnode); never RESOLVED */

/* ---- Counters, one set for each CPU ---- */

struct ipvsd_statistics {
	__u64 connections;
	__u64 packets;
	__u64 bytes; /* inner IP length */
};

/* While no packet is under way, received = forwarded + passed + answered + dropped. The control plane tells the groups
 * apart by this order. */
enum ipvsd_counter {
	IPVSD_RECEIVED,
	IPVSD_FORWARDED, /* handed to the driver */
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
	IPVSD_DROPPED_MARTIAN_SOURCE, /* one that no packet can have, or a VIP */
	IPVSD_DROPPED_FRAGMENT,       /* whose first one was not seen */
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
	IPVSD_EVENT_REDERIVED, /* without a connection: by a template, by sh's table or by the Maglev table */
	IPVSD_EVENT_RESCHEDULED,
	IPVSD_EVENT_RESCHEDULED_SILENT,
	IPVSD_EVENT_ICMP_RELAYED,
	IPVSD_EVENT_UNRECORDED, /* SYNs while too many connections were half-open */
	IPVSD_EVENT_FRAGMENTED, /* left to the kernel, to be fragmented after encapsulation */
	IPVSD_COUNTERS,
};

/* The room allows for more counters without another layout. */
#define IPVSD_COUNTER_ROOM 64

struct ipvsd_counters {
	__u64 count[IPVSD_COUNTER_ROOM];
};

/* ---- One row of settings that outlives the daemon ---- */

struct ipvsd_settings {
	__u32 abi_version;
	__u32 ingress_mtu;
	__u64 seed;                     /* of the flow table's hash: secret, or a client could fill a bucket */
	__u16 timeout[IPVSD_STATE_MAX]; /* ticks */
	__be32 check_address[IPVSD_CHECK_ADDRESSES];
	/* A server with that many unanswered SYNs is silent, and a SYN that is repeated to it is scheduled anew. 0:
	 * never. */
	__u32 silent_after;
	/* The number of half-open connections from which on new ones are not recorded. 0: no limit. */
	__u32 half_open_limit;
	/* The interface for encapsulated packets that exceed their next hop's MTU and may be fragmented, and its peer's
	 * MAC. */
	__u32 fragmenting_ifindex;
	__u8 fragmenting_mac[8];
	__u32 is_migrating;                   /* flows may still be in old_flows, or have their former keys */
	__u64 vip_filter[IPVSD_FILTER_WORDS]; /* ipvsd_filter_has; turns away what is for nobody's VIP */
	/* The destination MACs of frames for the director (ipvsd_mac_word). Without a first one, all frames are for it.
	 * The complement of such a word is the MAC of a macvlan without a VIP now. */
	__u64 own_mac[IPVSD_OWN_MACS];
};

/* A row of learnt_ports and answered_ports. In learnt_ports, id is the service, and the value is the time of the last
 * handshake (CLOCK_MONOTONIC, ns). In answered_ports, for the control plane only, id is the real server. */
struct ipvsd_port {
	__u32 id;
	__be16 port;
	__u16 reserved;
};

/* A row of strays: an interface by which packets for a VIP come in past the packet program. */
struct ipvsd_stray_key {
	__u32 ifindex;
	__be32 vip;
};

struct ipvsd_stray {
	__u64 packets; /* for a service; the packet programs' own, as is the next */
	__u64 last;    /* when one came (CLOCK_MONOTONIC, ns) */
	__u32 flags;   /* IPVSD_STRAY_ */
	__u32 reserved;
};

#define IPVSD_STRAY_SILENT 1u /* ARP requests for the VIP get no answer there */
#define IPVSD_STRAYS 16384

/* The load of the flow table, such as by a flood of SYNs. Stamps are 32-bit ticks, 0 for never. */
struct ipvsd_table_load {
	__u32 half_open; /* connections in SYN_RECV */
	__u32 since;     /* the limit was first reached, in the flood of `last` */
	__u32 last;      /* it was last reached */
	/* Without a daemon, packets of new flows sweep, a part in each tick. */
	__u32 last_daemon_gc; /* when the daemon last did */
	__u32 last_inline_gc; /* when packets last did */
	__u32 templates_full; /* when a client last found no room in confirmed_templates; cleared by the daemon */
	__u32 templates_used; /* rows there when the daemon last looked; the daemon's own */
	__u32 reserved[9];
};

/* The time after which the daemon counts as absent: 16 s. A daemon sweeps more often. */
#define IPVSD_ABSENT_TICKS 60

/* The pause after a confirmed template found no room: 16 s. */
#define IPVSD_FULL_TICKS 60

/* Floods that are farther apart count as two. */
#define IPVSD_FLOOD_GAP 37 /* 10 s */

/* ---- .rodata of the programs ---- */

struct ipvsd_director_constants {
	__u32 bucket_mask;        /* of the flow table */
	__u32 old_bucket_mask;    /* of the smaller one that it took the place of */
	__u32 listener_shift;     /* 64 less the logarithm of the number of buckets */
	__u32 answer_by_redirect; /* veth: XDP_TX would be lost there */
	__u32 reply_limit;        /* generated replies of each kind, a second and CPU */
	__u32 jiffy;              /* nanoseconds */
	__u32 several_ingress;    /* a packet may have come in elsewhere than where its XDP_TX would leave */
	/* The outer source's host part varies by flow: prefix | (hash & mask). Mask 0: the path's own address. */
	__be32 outer_prefix;
	__be32 outer_mask;
	__u32 is_rekeying; /* while flows are moved (is_migrating), they may have the key of layout 3 */
};

struct ipvsd_check_constants {
	__u32 check_ifindex; /* of ipvsd0 */
	__u8 check_mac[8];   /* its MAC, in the first six */
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
