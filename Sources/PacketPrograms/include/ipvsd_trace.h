/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The trace of the explaining program: its decisions on a packet, each written where it is made. */
#pragma once

#include "ipvsd_abi.h"

/* The occasion of a choice of a real server. */
enum ipvsd_occasion {
	IPVSD_OCCASION_NEW_CONNECTION,
	IPVSD_OCCASION_ONE_PACKET,
	IPVSD_OCCASION_REUSED_PORTS,
	IPVSD_OCCASION_SERVER_LOST,
	IPVSD_OCCASION_SERVER_SILENT,
	IPVSD_OCCASION_UNKNOWN_CONNECTION,
	IPVSD_OCCASION_FLOOD,
	IPVSD_OCCASION_NO_ROOM,
};

/* The packet's effect on its recorded flow. */
enum ipvsd_fate {
	IPVSD_FATE_KEPT,
	IPVSD_FATE_REUSED_PORTS,
	IPVSD_FATE_SERVER_LOST,
	IPVSD_FATE_SERVER_SILENT,
	IPVSD_FATE_FINISHING,
	IPVSD_FATE_RESET,
};

/* The part of the flow table that a flow is in. */
enum ipvsd_flow_place {
	IPVSD_PLACE_FIRST_BUCKET,
	IPVSD_PLACE_SECOND_BUCKET,
	IPVSD_PLACE_OLD_TABLE,
};

/* The packet's effect on the flow table. */
enum ipvsd_recording {
	IPVSD_RECORDING_UNASKED, /* the packet needs no new entry */
	IPVSD_RECORDING_NONE,    /* the service schedules single packets, or too many connections are half-open */
	IPVSD_RECORDING_RECORDED,
	IPVSD_RECORDING_RENEWED, /* in place of the flow's own entry */
	IPVSD_RECORDING_EVICTING,
	IPVSD_RECORDING_NO_ROOM,
};

enum ipvsd_method {
	IPVSD_METHOD_SCHEDULER, /* the service's scheduler, see ipvsd_choice.scheduler */
	IPVSD_METHOD_TEMPLATE,
	IPVSD_METHOD_MAGLEV,
};

/* The reasons why the connection of a packet without an entry may not have been recorded. */
#define IPVSD_FORGETTING_HASH_BASED 1u
#define IPVSD_FORGETTING_NO_ROOM 2u
#define IPVSD_FORGETTING_FLOOD 4u

#define IPVSD_NO_SLOT 0xffffffffu

struct ipvsd_choice {
	__u32 server; /* the id; 0: there is none */
	__u32 slot;   /* the slot that is looked at first, or IPVSD_NO_SLOT */
	__u32 slots;  /* the number of slots of the table; 0: the choice uses no table */
	__u32 passed; /* the number of slots that were skipped, as their servers take no new connections */
	__u8 occasion;
	__u8 method;
	__u8 scheduler; /* IPVSD_SCHEDULER_, for IPVSD_METHOD_SCHEDULER */
	__u8 by_port;   /* 1: the hash includes the client's port */
};

#define IPVSD_CHOICES 2

/* An id is 0 where the packet ends before the id is known. */
struct ipvsd_trace {
	__u64 counted;                        /* a byte for each counter: its number plus 1; the last one is lowest */
	__u64 flow_value;                     /* of the entry that was found; 0: none */
	struct ipvsd_template template_found; /* the client's template, in a persistent service */
	struct ipvsd_template template_kept;  /* the template that the packet would make for template_client */
	struct ipvsd_choice choice[IPVSD_CHOICES]; /* in their order; the last one counts */
	__u32 choices;
	__u32 tick;
	__u32 service;
	__u32 service_flags; /* IPVSD_SERVICE_ */
	__u32 flow_bucket;
	__u32 server; /* the id of the real server that the packet goes to */
	__u32 next_hop;
	__be32 outer_source;    /* the outer source where it varies by flow, else 0 */
	__be32 template_client; /* the client's address, masked by the service's netmask */
	__u8 flow_way;
	__u8 flow_place;
	__u8 is_in_own_half;
	__u8 fate;
	__u8 occasion; /* enum ipvsd_occasion, of the next choice */
	__u8 recording;
	__u8 forgettings;             /* IPVSD_FORGETTING_, of a packet without an entry */
	__u8 is_template_heeded;      /* a new connection would follow the client's template */
	__u8 is_unattended;           /* no daemon sweeps the flow table */
	__u8 is_template_confirmed;   /* template_found is in confirmed_templates */
	__u8 is_template_renewed;     /* template_kept would replace the client's confirmed template, if any */
	__u8 lacks_room_for_template; /* the client gets no template, as confirmed_templates is full */
};

_Static_assert(sizeof(struct ipvsd_choice) == 20, "map value layout");
_Static_assert(sizeof(struct ipvsd_trace) == 120, "map value layout");
