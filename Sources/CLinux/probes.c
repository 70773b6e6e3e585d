/* ARP and ICMP echo requests that wait for replies, and the watch for IPIP packets. */
#define _GNU_SOURCE
#include "clinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define QUESTIONS 3

static int64_t now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000ll + time.tv_nsec / 1000000;
}

/* Waits until the descriptor is readable, or until the deadline. Returns 0 at the deadline, and after an error. */
static int readable_until(int descriptor, int64_t deadline)
{
	struct pollfd entry = { .fd = descriptor, .events = POLLIN };
	int64_t left = deadline - now_ms();

	if (left < 0)
		return 0;
	return poll(&entry, 1, (int)left) > 0;
}

static int fail(int descriptor)
{
	int saved = errno;

	close(descriptor);
	errno = saved;
	return -1;
}

/* Adds the MAC to the list, unless the list has it or is full. Returns the new count. */
static int note(const uint8_t mac[6], uint8_t *macs, int count, int capacity)
{
	for (int i = 0; i < count; i++)
		if (memcmp(macs + 6 * i, mac, 6) == 0)
			return count;
	if (count < capacity)
		memcpy(macs + 6 * count++, mac, 6);
	return count;
}

int clinux_ask_arp(int interface, const uint8_t mac[6], uint32_t sender, uint32_t target, int timeout_ms,
		   uint8_t *answers, int capacity)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP), .sll_ifindex = interface, .sll_halen = 6
	};
	struct ether_arp question = { .ea_hdr = { htons(ARPHRD_ETHER), htons(ETH_P_IP), 6, 4, htons(ARPOP_REQUEST) } };
	struct ether_arp answer;
	int descriptor = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int count = 0;

	if (descriptor < 0)
		return -1;
	if (bind(descriptor, (struct sockaddr *)&address, sizeof(address)))
		return fail(descriptor);
	memset(address.sll_addr, 0xff, 6);
	memcpy(question.arp_sha, mac, 6);
	memcpy(question.arp_spa, &sender, 4);
	memcpy(question.arp_tpa, &target, 4);
	for (int round = 0; round < QUESTIONS; round++) {
		int64_t deadline = now_ms() + timeout_ms / QUESTIONS;

		if (sendto(descriptor, &question, sizeof(question), 0, (struct sockaddr *)&address, sizeof(address)) <
		    0)
			return fail(descriptor);
		while (readable_until(descriptor, deadline)) {
			if (recv(descriptor, &answer, sizeof(answer), 0) < (ssize_t)sizeof(answer) ||
			    answer.ea_hdr.ar_op != htons(ARPOP_REPLY) || memcmp(answer.arp_spa, &target, 4) ||
			    memcmp(answer.arp_sha, mac, 6) == 0)
				continue;
			count = note(answer.arp_sha, answers, count, capacity);
		}
	}
	close(descriptor);
	return count;
}

int clinux_watch_tunnels(int interface, int timeout_ms, uint8_t *macs, int capacity)
{
	/* The filter reads frames without their Ethernet header. It accepts IPv4 with protocol 4. */
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, SKF_AD_OFF + SKF_AD_PROTOCOL),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 3),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, offsetof(struct ip, ip_p)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_IPIP, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0xffff),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog filter = { .len = sizeof(program) / sizeof(program[0]), .filter = program };
	/* The socket is for all protocols. A socket for IPv4 alone does not see packets that a tc program has taken. */
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
				       .sll_protocol = htons(ETH_P_ALL),
				       .sll_ifindex = interface },
			   from;
	int64_t deadline = now_ms() + timeout_ms;
	int descriptor = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), count = 0;

	if (descriptor < 0)
		return -1;
	if (setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) ||
	    bind(descriptor, (struct sockaddr *)&address, sizeof(address)))
		return fail(descriptor);
	while (readable_until(descriptor, deadline)) {
		socklen_t size = sizeof(from);
		uint8_t byte;

		if (recvfrom(descriptor, &byte, 1, 0, (struct sockaddr *)&from, &size) >= 0 &&
		    from.sll_pkttype == PACKET_HOST && from.sll_halen == 6)
			count = note(from.sll_addr, macs, count, capacity);
	}
	close(descriptor);
	return count;
}

int clinux_ask_echo(uint32_t target, int size, int timeout_ms)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { target } };
	int discovery = IP_PMTUDISC_PROBE, round, body = size - (int)sizeof(struct ip);
	uint8_t question[65536] = { 0 }, answer[65536];
	struct icmphdr header = { .type = ICMP_ECHO };
	int descriptor;

	if (body < (int)sizeof(header) || size > (int)sizeof(question)) {
		errno = EINVAL;
		return -1;
	}
	descriptor = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP);
	if (descriptor < 0)
		return -1;
	if (setsockopt(descriptor, IPPROTO_IP, IP_MTU_DISCOVER, &discovery, sizeof(discovery)) ||
	    getrandom(&header.un.echo.id, 2, 0) != 2)
		return fail(descriptor);
	for (round = 0; round < QUESTIONS; round++) {
		int64_t deadline = now_ms() + timeout_ms / QUESTIONS;

		header.un.echo.sequence = htons(round);
		header.checksum = 0;
		memcpy(question, &header, sizeof(header));
		header.checksum = htons(clinux_checksum(question, body));
		memcpy(question, &header, sizeof(header));
		/* If a neighbour does not answer ARP, sendto fails with EHOSTUNREACH from the second request on. */
		if (sendto(descriptor, question, body, 0, (struct sockaddr *)&to, sizeof(to)) < 0 &&
		    errno != EHOSTUNREACH)
			return fail(descriptor);
		while (readable_until(descriptor, deadline)) {
			ssize_t count = recv(descriptor, answer, sizeof(answer), 0);
			const struct ip *ip = (const struct ip *)answer;
			const struct icmphdr *icmp = (const struct icmphdr *)(answer + 4 * (answer[0] & 15));

			if (count < (ssize_t)(sizeof(*ip) + sizeof(*icmp)) ||
			    count < 4 * (answer[0] & 15) + (ssize_t)sizeof(*icmp))
				continue;
			if (ip->ip_src.s_addr == target && icmp->type == ICMP_ECHOREPLY &&
			    icmp->un.echo.id == header.un.echo.id) {
				close(descriptor);
				return 1;
			}
		}
	}
	close(descriptor);
	return 0;
}
