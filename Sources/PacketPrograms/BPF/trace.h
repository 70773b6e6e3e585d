/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The packet program is compiled twice, to forward and to explain. Every write to a map goes through one of these
 * macros, or comes after a return of the explaining program, as in may_answer(). The explaining program makes no such
 * write, and continues as if it had succeeded. It writes its decisions to a variable of its own. The forwarding program
 * has no trace. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "ipvsd_trace.h"

#ifdef IPVSD_EXPLAIN

#define EXPLAINS true

/* Written by the explaining program, and read by the process that runs it. */
struct ipvsd_trace trace SEC(".data.trace");

#define TRACE(statement)                                                                                               \
	do {                                                                                                           \
		statement;                                                                                             \
	} while (0)

#else

#define EXPLAINS false

#define TRACE(statement)                                                                                               \
	do {                                                                                                           \
	} while (0)

#endif

#define WRITE(statement)                                                                                               \
	do {                                                                                                           \
		if (!EXPLAINS) {                                                                                       \
			statement;                                                                                     \
		}                                                                                                      \
	} while (0)

/* Adds, and gives the value before the addition. */
#define FETCH_AND_ADD(place, amount)                                                                                   \
	(EXPLAINS ? *(volatile __typeof__(*(place)) *)(place) : __sync_fetch_and_add(place, amount))

/* Updates a map, and gives 0 or a negative errno. The errno is an int, and not libbpf's long. Before Linux 6.4 the
 * program calls the map's function directly, whose int does not extend the sign to the upper half of the register. */
#define UPDATE(map, key, value, flags) (EXPLAINS ? 0 : (int)bpf_map_update_elem(map, key, value, flags))

#define COMPARE_AND_SWAP(place, old, new) (EXPLAINS ? (old) : __sync_val_compare_and_swap(place, old, new))

/* ---- Choices of real servers. The parts of a choice are traced before its server. ---- */

#define TRACED_CHOICE trace.choice[trace.choices & (IPVSD_CHOICES - 1)]

static __always_inline void trace_method(enum ipvsd_method method, __u32 scheduler)
{
	TRACE(TRACED_CHOICE.method = method);
	TRACE(TRACED_CHOICE.scheduler = scheduler);
}

static __always_inline void trace_slot(__u32 slot, __u32 slots, bool by_port)
{
	TRACE(TRACED_CHOICE.slot = slot);
	TRACE(TRACED_CHOICE.slots = slots);
	TRACE(TRACED_CHOICE.by_port = by_port);
	TRACE(TRACED_CHOICE.passed = 0);
}

static __always_inline void trace_passed(__u32 passed) { TRACE(TRACED_CHOICE.passed = passed); }

/* Traces the chosen server, and ends the choice. `server` 0: there is none. */
static __always_inline void trace_choice(__u32 server)
{
	TRACE(TRACED_CHOICE.server = server);
	TRACE(TRACED_CHOICE.occasion = trace.occasion);
	TRACE(trace.choices++);
}

/* Traces that the flow that was found is scheduled anew. */
static __always_inline void trace_rescheduled(enum ipvsd_fate fate, enum ipvsd_occasion occasion)
{
	TRACE(trace.fate = fate);
	TRACE(trace.occasion = occasion);
}
