#define _GNU_SOURCE
#include "clinux_events.h"
#include "clinux_checksum.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/icmp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static int fail(int descriptor)
{
	int code = errno;

	close(descriptor);
	errno = code;
	return -1;
}

int clinux_connect(uint32_t source, uint32_t destination, uint16_t port, uint32_t mark, int device)
{
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr = { source } };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { destination }, .sin_port = htons(port) };
	struct linger reset = { .l_onoff = 1 };
	int yes = 1;
	int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (descriptor < 0)
		return -1;
	if (setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) ||
	    (mark && setsockopt(descriptor, SOL_SOCKET, SO_MARK, &mark, sizeof(mark))) ||
	    (device && setsockopt(descriptor, SOL_SOCKET, SO_BINDTOIFINDEX, &device, sizeof(device))))
		return fail(descriptor);
	/* With this option, connect chooses the port. connect knows the destination, so connections to different
	 * destinations can share a port. */
	if (source && (setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)) ||
		       bind(descriptor, (struct sockaddr *)&from, sizeof(from))))
		return fail(descriptor);
	if (connect(descriptor, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
		return fail(descriptor);
	return descriptor;
}

int clinux_echo_socket(uint32_t source, int device)
{
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr = { source } };
	struct icmp_filter filter = { ~(1u << ICMP_ECHOREPLY) };
	/* The receive buffer has room for thousands of replies at once. */
	int descriptor, room = 4 << 20;

	descriptor = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP);
	if (descriptor < 0)
		return -1;
	if (setsockopt(descriptor, SOL_RAW, ICMP_FILTER, &filter, sizeof(filter)) ||
	    (device && setsockopt(descriptor, SOL_SOCKET, SO_BINDTOIFINDEX, &device, sizeof(device))) ||
	    (source && bind(descriptor, (struct sockaddr *)&from, sizeof(from))))
		return fail(descriptor);
	/* This call fails without CAP_NET_ADMIN, and the socket then keeps the default size. */
	setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	return descriptor;
}

int clinux_send_echo(int descriptor, uint32_t destination, uint32_t mark, uint16_t identifier, uint16_t sequence)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { destination } };
	struct icmphdr echo = { .type = ICMP_ECHO, .un.echo = { htons(identifier), htons(sequence) } };
	struct iovec bytes = { &echo, sizeof(echo) };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(mark))];
	} control = { 0 };
	struct msghdr message = { .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &bytes, .msg_iovlen = 1 };

	echo.checksum = htons(clinux_checksum(&echo, sizeof(echo)));
	if (mark) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SO_MARK;
		control.header.cmsg_len = CMSG_LEN(sizeof(mark));
		memcpy(CMSG_DATA(&control.header), &mark, sizeof(mark));
	}
	return sendmsg(descriptor, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int clinux_receive_echo(int descriptor, uint32_t *source, uint16_t *identifier, uint16_t *sequence)
{
	uint8_t packet[128];

	for (;;) {
		struct sockaddr_in from;
		socklen_t size = sizeof(from);
		/* Longer packets are truncated. */
		ssize_t count = recvfrom(descriptor, packet, sizeof(packet), 0, (struct sockaddr *)&from, &size);
		struct icmphdr echo;
		size_t header;

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return 0;
		if (count == 0)
			continue;
		header = 4 * (packet[0] & 15);
		if ((size_t)count < header + sizeof(echo))
			continue;
		memcpy(&echo, packet + header, sizeof(echo));
		if (echo.type != ICMP_ECHOREPLY)
			continue;
		*source = from.sin_addr.s_addr;
		*identifier = ntohs(echo.un.echo.id);
		*sequence = ntohs(echo.un.echo.sequence);
		return 1;
	}
}

int clinux_socket_error(int descriptor)
{
	int code = 0;
	socklen_t size = sizeof(code);

	return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size) ? errno : code;
}

int clinux_accept(int listener) { return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC); }

uint64_t clinux_raise_descriptor_limit(uint64_t wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	if (limit.rlim_cur < wanted && limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = { wanted < limit.rlim_max ? wanted : limit.rlim_max, limit.rlim_max };

		if (!setrlimit(RLIMIT_NOFILE, &raised))
			limit = raised;
	}
	return limit.rlim_cur;
}
