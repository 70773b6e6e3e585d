/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The rows that had another form in layout 3. The migration needs them, and the reading of a data plane that no newer
 * daemon has carried over. A listener's value was its service in 32 bits, the number of its flows in 16, and its flags.
 * Read as a present value, it has no former number, as services are fewer than 65,536. */
#pragma once

#include <linux/types.h>

#define IPVSD_COUNTERS_3 31

struct ipvsd_counters_3 {
	__u64 count[IPVSD_COUNTERS_3];
};
