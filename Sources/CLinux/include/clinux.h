/* What Swift's Glibc module leaves out of Linux. Every function returns what the system call returns: -1 with errno
 * set on failure. _GNU_SOURCE stays in the .c file: in a header it would give libc types a second layout, and clang
 * then refuses to merge the modules. */
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
/* Keeps the calling thread on that CPU. */
int clinux_stay_on_cpu(int cpu);
int clinux_current_cpu(void);
/* Lets the calling thread be on any CPU again. */
int clinux_leave_cpu(void);
/* The cookie of the network namespace of a fresh socket, 0 where the kernel has none (before 5.14). */
uint64_t clinux_network_namespace_cookie(void);
/* f_type of statfs(2), or 0. */
uint64_t clinux_filesystem_type(const char *path);
int clinux_mount_bpffs(const char *path);
/* Mounts bpffs on path in the mount namespace of pid 1, by a child process. 0, or an errno. */
int clinux_unmount(const char *path);
/* The same in the mount namespace of a process, by a child process. 0, or an errno. */
int clinux_mount_bpffs_for(pid_t process, const char *path);
int clinux_unmount_for(pid_t process, const char *path);
/* A descriptor that only names a directory (O_PATH): /proc/self/fd/N then leads into it from any mount namespace. */
int clinux_open_path(const char *path);
/* Creates, or opens, a TUN device that outlives its descriptor; or makes it go away. */
int clinux_persist_tun(const char *name, int persist);

/* Aligned 64-bit accesses to memory that a BPF program shares. */
static inline void clinux_store_u64(void *address, uint64_t value)
{
	__atomic_store_n((uint64_t *)address, value, __ATOMIC_RELEASE);
}
static inline uint64_t clinux_load_u64(const void *address)
{
	return __atomic_load_n((const uint64_t *)address, __ATOMIC_ACQUIRE);
}
/* 1 if the value was `expected`, and is `wanted` now. */
static inline int clinux_compare_and_swap_u64(void *address, uint64_t expected, uint64_t wanted)
{
	return __atomic_compare_exchange_n((uint64_t *)address, &expected, wanted, 0, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}
static inline void clinux_add_u32(void *address, uint32_t difference)
{
	__atomic_fetch_add((uint32_t *)address, difference, __ATOMIC_RELAXED);
}

/* Has the kernel compute the checksums of what leaves the interface (ETHTOOL_STXCSUM, and with it segmentation). */
int clinux_disable_transmit_checksum(const char *interface);
/* On a veth this gives it NAPI, without which it takes no frames that XDP redirects to its peer. */
int clinux_enable_gro(const char *interface);
/* Broadcasts an ARP request for target; with target = sender an announcement (RFC 5227 section 3). Addresses in network
 * byte order. */
int clinux_request_arp(int interface, const uint8_t mac[6], uint32_t sender, uint32_t target);
/* Broadcasts an announcement of each address, by one socket: closing one takes an RCU grace period. Returns how many were
 * sent; fewer than count with errno of the one behind them. Addresses in network byte order. */
int clinux_announce(int interface, const uint8_t mac[6], const uint32_t *addresses, int count);
/* Writes out what stdio still holds of standard output. 0, or the errno for which some of it was lost. */
int clinux_flush_standard_output(void);
/* Asks the link who has target, three times within the time-out, and collects the MAC addresses that answer, each once.
 * sender 0 makes it a probe (RFC 5227 section 2.1.1), which changes nobody's neighbour table. Returns how many there
 * are, at most capacity. Addresses in network byte order. */
int clinux_ask_arp(int interface, const uint8_t mac[6], uint32_t sender, uint32_t target, int timeout_ms,
		   uint8_t *answers, int capacity);
/* Waits for IPIP packets to this host on the interface, and collects the MAC addresses that they come from, each once.
 * Returns how many there are, at most capacity; -1 with errno. */
int clinux_watch_tunnels(int interface, int timeout_ms, uint8_t *macs, int capacity);
/* Sends an ICMP echo request of that many bytes, IP header included, with DF whatever the kernel knows of the path, three
 * times within the time-out. 1: answered, 0: not; -1 with errno, EMSGSIZE where the own interface takes no such packet. */
int clinux_ask_echo(uint32_t target, int size, int timeout_ms);
/* The effective capabilities of this process, bit n for the capability whose number is n (linux/capability.h). */
uint64_t clinux_effective_capabilities(void);
/* A feature of a network device, by its name in `ethtool -k`'s long form ("rx-lro"): 1 on, 0 off; -1 with ENOTSUP where
 * the device has none of that name or it cannot be changed. */
int clinux_get_feature(const char *interface, const char *name);
/* Switches it; -1 with errno, ENOTSUP where the device did not follow. */
int clinux_set_feature(const char *interface, const char *name, int on);
/* memmem(3): whether the part is among the bytes, in linear time. */
int clinux_contains(const void *bytes, size_t count, const void *part, size_t part_count);
