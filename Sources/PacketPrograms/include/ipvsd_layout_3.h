/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The rows that had another form in layout 3: for the migration, and for reading a data plane that no newer daemon has
 * carried over yet. A listener's value was its service in 32 bits, the number of its flows in 16, and its flags: read as a
 * value of now, it has no former number, as services are fewer than 65,536. */
#pragma once

#include <linux/types.h>

#define IPVSD_COUNTERS_3 31

struct ipvsd_counters_3 {
	__u64 count[IPVSD_COUNTERS_3];
};
