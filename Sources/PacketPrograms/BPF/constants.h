/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The director's constants, set at its load. The verifier knows them, and removes the branches that they decide. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "ipvsd_words.h"

const volatile struct ipvsd_director_constants constants;

/* Returns the present tick, whose lower 16 bits are the stamp of a flow. The tick is computed from jiffies, which are
 * read without a call, while even the coarse clock takes a call. */
static __always_inline __u32 ticks(void) { return bpf_jiffies64() * constants.jiffy >> IPVSD_TICK_SHIFT; }
