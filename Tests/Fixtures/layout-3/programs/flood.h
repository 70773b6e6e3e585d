/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Floods of SYNs: while too many connections are half-open, new ones are not recorded. The Maglev table names the server
 * of each of their packets, until one that carries data is recorded. */
#pragma once

#include "flows.h"
#include "maps.h"

static __always_inline int is_flooded(void)
{
	/* As a signed number: a count may be taken down before it is put up. */
	return settings.half_open_limit && (__s32)pressure.half_open >= (__s32)settings.half_open_limit;
}

static __always_inline void note_flood(void)
{
	__u32 now = ticks();

	if (pressure.last == now)
		return;
	if (!pressure.last || now - pressure.last > IPVSD_FLOOD_GAP)
		pressure.since = now;
	pressure.last = now;
}

/* Whether connections without an entry may have begun in a flood and go on. */
static __always_inline int has_been_flooded(void)
{
	return pressure.last && (__s32)(ticks() - pressure.last) <= settings.timeout[IPVSD_STATE_ESTABLISHED];
}
