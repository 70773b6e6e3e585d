#define _GNU_SOURCE
#include "clinux.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <sys/syscall.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

int clinux_unshare_network(void) { return unshare(CLONE_NEWNET); }
int clinux_enter_namespace(int descriptor) { return setns(descriptor, 0); }

int clinux_stay_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

int clinux_current_cpu(void) { return sched_getcpu(); }

int clinux_leave_cpu(void)
{
	cpu_set_t set;

	/* The kernel ignores CPUs that do not exist, or that the thread may not use. */
	memset(&set, 0xff, sizeof(set));
	return sched_setaffinity(0, sizeof(set), &set);
}

uint64_t clinux_network_namespace_cookie(void)
{
	int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	if (descriptor < 0)
		return 0;
	if (getsockopt(descriptor, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size))
		cookie = 0;
	close(descriptor);
	return cookie;
}

uint64_t clinux_filesystem_type(const char *path)
{
	struct statfs info;

	return statfs(path, &info) ? 0 : (uint64_t)info.f_type;
}

int clinux_mount_bpffs(const char *path) { return mount("bpf", path, "bpf", 0, "mode=0700"); }

/* Runs `action`, a mount or unmount of `path`, in the mount namespace of another process. Returns 0, or an errno. */
static int in_mount_namespace(pid_t process, int (*action)(const char *), const char *path)
{
	char name[32];
	int namespace, root, status = 0;
	pid_t child;

	snprintf(name, sizeof(name), "/proc/%d/ns/mnt", process);
	namespace = open(name, O_RDONLY | O_CLOEXEC);
	if (namespace < 0)
		return errno;
	snprintf(name, sizeof(name), "/proc/%d/root", process);
	root = open(name, O_PATH | O_CLOEXEC | O_DIRECTORY);
	if (root < 0) {
		status = errno;
		close(namespace);
		return status;
	}
	/* A child calls setns, as a thread may enter a mount namespace only if no other thread shares its root. The
	 * other process's root may differ from the root of its namespace. */
	child = fork();
	if (child == 0) {
		if (setns(namespace, CLONE_NEWNS) || fchdir(root) || chroot(".") || action(path))
			_exit(errno);
		_exit(0);
	}
	close(root);
	close(namespace);
	if (child < 0)
		return errno;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

int clinux_mount_bpffs_for(pid_t process, const char *path)
{
	return in_mount_namespace(process, clinux_mount_bpffs, path);
}

int clinux_unmount_for(pid_t process, const char *path) { return in_mount_namespace(process, clinux_unmount, path); }

int clinux_open_path(const char *path) { return open(path, O_PATH | O_CLOEXEC | O_DIRECTORY); }

int clinux_unmount(const char *path) { return umount(path); }

int clinux_persist_tun(const char *name, int persist)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int descriptor = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	int result = -1, saved;

	if (descriptor < 0)
		return -1;
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(descriptor, TUNSETIFF, &request) == 0)
		result = ioctl(descriptor, TUNSETPERSIST, persist);
	saved = errno;
	close(descriptor);
	errno = saved;
	return result;
}

static int ethtool(const char *interface, void *command)
{
	struct ifreq request = { .ifr_data = command };
	int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int result, saved;

	if (descriptor < 0)
		return -1;
	strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
	result = ioctl(descriptor, SIOCETHTOOL, &request);
	saved = errno;
	close(descriptor);
	errno = saved;
	return result;
}

int clinux_disable_transmit_checksum(const char *interface)
{
	struct ethtool_value value = { .cmd = ETHTOOL_STXCSUM, .data = 0 };

	return ethtool(interface, &value);
}

int clinux_enable_gro(const char *interface)
{
	struct ethtool_value value = { .cmd = ETHTOOL_SGRO, .data = 1 };

	return ethtool(interface, &value);
}

/* The last member of the kernel's list headers is an empty array, which the list follows. */
#pragma clang diagnostic ignored "-Wgnu-variable-sized-type-not-at-end"

#define FEATURE_BLOCKS 8 /* of 32 features each; Linux 6.18 has 3 blocks */

/* Returns the number of the feature, or -1 with errno. */
static int feature_number(const char *interface, const char *name)
{
	struct {
		struct ethtool_sset_info info;
		uint32_t count;
	} set = { .info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES } };
	struct {
		struct ethtool_gstrings header;
		char name[32 * FEATURE_BLOCKS][ETH_GSTRING_LEN];
	} strings = { .header = { .cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES } };

	if (ethtool(interface, &set))
		return -1;
	if (set.count > 32 * FEATURE_BLOCKS) {
		errno = E2BIG;
		return -1;
	}
	strings.header.len = set.count;
	if (ethtool(interface, &strings))
		return -1;
	for (uint32_t i = 0; i < set.count && i < strings.header.len; i++)
		if (strncmp(strings.name[i], name, ETH_GSTRING_LEN) == 0)
			return i;
	errno = ENOTSUP;
	return -1;
}

static int feature_state(const char *interface, int number)
{
	struct {
		struct ethtool_gfeatures header;
		struct ethtool_get_features_block block[FEATURE_BLOCKS];
	} features = { .header = { .cmd = ETHTOOL_GFEATURES, .size = FEATURE_BLOCKS } };
	uint32_t bit = 1u << (number & 31);

	if (ethtool(interface, &features))
		return -1;
	if (!(features.block[number >> 5].available & bit) || features.block[number >> 5].never_changed & bit) {
		errno = ENOTSUP;
		return -1;
	}
	return !!(features.block[number >> 5].active & bit);
}

int clinux_get_feature(const char *interface, const char *name)
{
	int number = feature_number(interface, name);

	return number < 0 ? -1 : feature_state(interface, number);
}

int clinux_set_feature(const char *interface, const char *name, int on)
{
	struct {
		struct ethtool_sfeatures header;
		struct ethtool_set_features_block block[FEATURE_BLOCKS];
	} features = { .header = { .cmd = ETHTOOL_SFEATURES } };
	struct {
		struct ethtool_sset_info info;
		uint32_t count;
	} set = { .info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES } };
	int number = feature_number(interface, name);
	uint32_t bit = 1u << (number & 31);

	if (number < 0 || ethtool(interface, &set))
		return -1;
	/* The kernel accepts only its own number of blocks. */
	features.header.size = (set.count + 31) / 32;
	features.block[number >> 5].valid = bit;
	features.block[number >> 5].requested = on ? bit : 0;
	if (ethtool(interface, &features) < 0)
		return -1;
	if (feature_state(interface, number) == !!on)
		return 0;
	errno = ENOTSUP;
	return -1;
}

static int send_arp_request(int descriptor, int interface, const uint8_t mac[6], uint32_t sender, uint32_t target)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP), .sll_ifindex = interface, .sll_halen = 6
	};
	struct ether_arp arp = { .ea_hdr = { htons(ARPHRD_ETHER), htons(ETH_P_IP), 6, 4, htons(ARPOP_REQUEST) } };

	memset(to.sll_addr, 0xff, 6);
	memcpy(arp.arp_sha, mac, 6);
	memcpy(arp.arp_spa, &sender, 4);
	memcpy(arp.arp_tpa, &target, 4);
	return sendto(descriptor, &arp, sizeof(arp), 0, (struct sockaddr *)&to, sizeof(to)) < 0 ? -1 : 0;
}

int clinux_request_arp(int interface, const uint8_t mac[6], uint32_t sender, uint32_t target)
{
	int descriptor = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int code, saved;

	if (descriptor < 0)
		return -1;
	code = send_arp_request(descriptor, interface, mac, sender, target);
	saved = errno;
	close(descriptor);
	errno = saved;
	return code;
}

int clinux_announce(int interface, const uint8_t mac[6], const uint32_t *addresses, int count)
{
	int descriptor = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int sent = 0, saved;

	if (descriptor < 0)
		return 0;
	while (sent < count && !send_arp_request(descriptor, interface, mac, addresses[sent], addresses[sent]))
		sent++;
	saved = errno;
	close(descriptor);
	errno = saved;
	return sent;
}

int clinux_flush_standard_output(void)
{
	int lost = ferror(stdout);

	if (fflush(stdout))
		return errno;
	return lost ? EIO : 0;
}

uint64_t clinux_effective_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (syscall(SYS_capget, &header, data))
		return 0;
	return data[0].effective | (uint64_t)data[1].effective << 32;
}

int clinux_contains(const void *bytes, size_t count, const void *part, size_t part_count)
{
	return memmem(bytes, count, part, part_count) != NULL;
}
