/* Questions to the network that wait for answers: ARP and ICMP echo. */
#define _GNU_SOURCE
#include "clinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
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

/* Waits for something to read until then; 0 when the time is over. */
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

int clinux_ask_arp(int interface, const uint8_t mac[6], uint32_t sender, uint32_t target, int timeout_ms,
		   uint8_t *answers, int capacity)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP),
				       .sll_ifindex = interface, .sll_halen = 6 };
	struct ether_arp question = { .ea_hdr = { htons(ARPHRD_ETHER), htons(ETH_P_IP), 6, 4, htons(ARPOP_REQUEST) } };
	struct ether_arp answer;
	int descriptor = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int count = 0, i;

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

		if (sendto(descriptor, &question, sizeof(question), 0, (struct sockaddr *)&address, sizeof(address)) < 0)
			return fail(descriptor);
		while (readable_until(descriptor, deadline)) {
			if (recv(descriptor, &answer, sizeof(answer), 0) < (ssize_t)sizeof(answer) ||
			    answer.ea_hdr.ar_op != htons(ARPOP_REPLY) || memcmp(answer.arp_spa, &target, 4) ||
			    memcmp(answer.arp_sha, mac, 6) == 0)
				continue;
			for (i = 0; i < count; i++)
				if (memcmp(answers + 6 * i, answer.arp_sha, 6) == 0)
					break;
			if (i == count && count < capacity)
				memcpy(answers + 6 * count++, answer.arp_sha, 6);
		}
	}
	close(descriptor);
	return count;
}

static uint16_t checksum(const uint8_t *bytes, int size)
{
	uint32_t sum = 0;

	for (int i = 0; i < size; i += 2)
		sum += bytes[i] << 8 | (i + 1 < size ? bytes[i + 1] : 0);
	sum = (sum & 0xffff) + (sum >> 16);
	return htons(~((sum & 0xffff) + (sum >> 16)));
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
		header.checksum = checksum(question, body);
		memcpy(question, &header, sizeof(header));
		/* A neighbour that does not answer ARP is told as EHOSTUNREACH by the second question. */
		if (sendto(descriptor, question, body, 0, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EHOSTUNREACH)
			return fail(descriptor);
		while (readable_until(descriptor, deadline)) {
			ssize_t count = recv(descriptor, answer, sizeof(answer), 0);
			const struct ip *ip = (const struct ip *)answer;
			const struct icmphdr *icmp = (const struct icmphdr *)(answer + 4 * (answer[0] & 15));

			if (count < (ssize_t)(sizeof(*ip) + sizeof(*icmp)) || count < 4 * (answer[0] & 15) + (ssize_t)sizeof(*icmp))
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
