/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The rows that had another form in layout 3. The migration uses them, and so does a reader of a data plane that has
 * not been migrated yet. In layout 3, a listener's value had the service in 32 bits, the number in its flows' keys in
 * 16 bits, and its flags. In a struct ipvsd_listener_value of these bytes, `former` is 0, as services are fewer than
 * 65,536. */
#pragma once

#include <linux/types.h>

#define IPVSD_COUNTERS_3 31

struct ipvsd_counters_3 {
	__u64 count[IPVSD_COUNTERS_3];
};
