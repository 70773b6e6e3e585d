/* Linux calls that Swift's Glibc module does not have. Unless noted, a function returns the result of the system
 * call: -1 with errno on failure. _GNU_SOURCE stays in the .c files. In a header, the macro would give libc types a
 * second layout, and clang could not merge the modules. */
#pragma once
#include <linux/capability.h>
#include <stdint.h>
#include <sys/types.h>
#include "clinux_capture.h"
#include "clinux_checksum.h"
#include "clinux_events.h"
#include "clinux_process.h"

int clinux_unshare_network(void);
int clinux_enter_namespace(int descriptor);
/* Binds the calling thread to the CPU. */
int clinux_stay_on_cpu(int cpu);
int clinux_current_cpu(void);
/* Lets the calling thread run on any CPU again. */
int clinux_leave_cpu(void);
/* Returns the cookie of the network namespace of a new socket, or 0 if the kernel has no cookies (before 5.14). */
uint64_t clinux_network_namespace_cookie(void);
/* Returns f_type of statfs(2), or 0 on failure. */
uint64_t clinux_filesystem_type(const char *path);
/* Mount and unmount bpffs in the mount namespace of this process. */
int clinux_mount_bpffs(const char *path);
int clinux_unmount(const char *path);
/* Mount and unmount bpffs in the mount namespace of another process, by a child process. They return 0 or an errno. */
int clinux_mount_bpffs_for(pid_t process, const char *path);
int clinux_unmount_for(pid_t process, const char *path);
/* Opens a directory with O_PATH. /proc/self/fd/N then leads into it from any mount namespace. */
int clinux_open_path(const char *path);
/* Makes a TUN device persistent, so that it outlives its descriptor, and creates it if needed. With persist = 0, it
 * removes the device. */
int clinux_persist_tun(const char *name, int persist);

/* Atomic accesses to aligned memory that is shared with a BPF program. */
static inline void clinux_store_u64(void *address, uint64_t value)
{
	__atomic_store_n((uint64_t *)address, value, __ATOMIC_RELEASE);
}
static inline uint64_t clinux_load_u64(const void *address)
{
	return __atomic_load_n((const uint64_t *)address, __ATOMIC_ACQUIRE);
}
/* Returns 1 if the value was `expected`, and is `wanted` now. Returns 0 otherwise. */
static inline int clinux_compare_and_swap_u64(void *address, uint64_t expected, uint64_t wanted)
{
	return __atomic_compare_exchange_n((uint64_t *)address, &expected, wanted, 0, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}
static inline void clinux_add_u32(void *address, uint32_t difference)
{
	__atomic_fetch_add((uint32_t *)address, difference, __ATOMIC_RELAXED);
}

/* Makes the kernel, and not the device, compute the checksums of outgoing packets (ETHTOOL_STXCSUM). This also
 * disables segmentation offload. */
int clinux_disable_transmit_checksum(const char *interface);
/* Enables GRO. On a veth, this enables NAPI, which XDP_REDIRECT to the veth's peer requires. */
int clinux_enable_gro(const char *interface);
/* Broadcasts an ARP request for target. With target = sender, the request is an announcement (RFC 5227 section 3).
 * Addresses are in network byte order. */
int clinux_request_arp(int interface, const uint8_t mac[6], uint32_t sender, uint32_t target);
/* Broadcasts an announcement of each address through one socket, as closing a socket takes an RCU grace period.
 * Returns the number of sent announcements. If the number is less than count, errno belongs to the first unsent
 * announcement. Addresses are in network byte order. */
int clinux_announce(int interface, const uint8_t mac[6], const uint32_t *addresses, int count);
/* Flushes standard output. Returns 0, or an errno if output was lost now or earlier. */
int clinux_flush_standard_output(void);
/* Sends an ARP request for target three times within the time-out, and collects the MAC addresses that answer, each
 * once. With sender 0, the request is a probe (RFC 5227 section 2.1.1), which changes no neighbour table. Writes 6
 * bytes for each address, and returns the number of addresses, at most capacity. -1 with errno. Addresses are in
 * network byte order. */
int clinux_ask_arp(int interface, const uint8_t mac[6], uint32_t sender, uint32_t target, int timeout_ms,
		   uint8_t *answers, int capacity);
/* Waits for IPIP packets to this host on the interface, and collects their source MAC addresses, each once. Writes 6
 * bytes for each address, and returns the number of addresses, at most capacity. -1 with errno. */
int clinux_watch_tunnels(int interface, int timeout_ms, uint8_t *macs, int capacity);
/* Sends an ICMP echo request of `size` bytes, IP header included, three times within the time-out. DF is set, and the
 * kernel's cached path MTU is ignored. Returns 1 after an answer, and 0 without an answer. -1 with errno, which is
 * EMSGSIZE if the packet exceeds the MTU of this machine's interface. */
int clinux_ask_echo(uint32_t target, int size, int timeout_ms);
/* Returns the effective capabilities of this process. Bit n is the capability with number n (linux/capability.h). */
uint64_t clinux_effective_capabilities(void);
/* Returns the state of a device feature, by its name in `ethtool -k` ("rx-lro"): 1 on, 0 off. -1 with ENOTSUP if the
 * device has no such feature, or cannot change it. */
int clinux_get_feature(const char *interface, const char *name);
/* Switches a device feature on or off. -1 with errno, which is ENOTSUP if the device did not change. */
int clinux_set_feature(const char *interface, const char *name, int on);
/* Returns whether the part is among the bytes, in linear time (memmem(3)). */
int clinux_contains(const void *bytes, size_t count, const void *part, size_t part_count);
