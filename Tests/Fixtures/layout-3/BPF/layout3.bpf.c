/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The packet programs of layout 3, as commit 77b5f52 had them. A quoted include finds its neighbour first, so that they get
 * the header beside them and not today's. */
#include "../programs/director.bpf.c"
