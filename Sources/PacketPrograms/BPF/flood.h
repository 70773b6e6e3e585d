/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Floods of SYNs: while too many connections are half-open, new TCP connections are not recorded. stateless_server()
 * names the server of each of their packets, until a packet with data records its connection. */
#pragma once

#include "constants.h"
#include "maps.h"
#include "trace.h"

static __always_inline bool is_flooded(void)
{
	/* The number is signed, as the decrement of a count may come before its increment. */
	return settings.half_open_limit && (__s32)table_load.half_open >= (__s32)settings.half_open_limit;
}

static __always_inline void note_flood(void)
{
	__u32 now = ticks();

	if (table_load.last == now)
		return;
	if (!table_load.last || now - table_load.last > IPVSD_FLOOD_GAP)
		WRITE(table_load.since = now);
	WRITE(table_load.last = now);
}

/* Whether connections without an entry may have begun in a flood, and still exist. */
static __always_inline bool has_been_flooded(void)
{
	return table_load.last && (__s32)(ticks() - table_load.last) <= settings.timeout[IPVSD_STATE_ESTABLISHED];
}
