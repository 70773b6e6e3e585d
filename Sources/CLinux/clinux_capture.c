#define _GNU_SOURCE
#include "clinux_capture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int clinux_packet_socket(int interface, int timeout_ms)
{
	/* A socket for one protocol gets frames only after the bridge, which takes the frames of its ports. */
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
				       .sll_protocol = htons(ETH_P_ALL),
				       .sll_ifindex = interface };
	struct timeval limit = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	int descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	int room = 32 << 20, code;

	if (descriptor < 0)
		return -1;
	if (setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    bind(descriptor, (struct sockaddr *)&address, sizeof(address))) {
		code = errno;
		close(descriptor);
		errno = code;
		return -1;
	}
	return descriptor;
}

ssize_t clinux_receive_frame(int descriptor, void *frame, size_t size)
{
	struct sockaddr_ll from;
	socklen_t length = sizeof(from);
	ssize_t count = recvfrom(descriptor, frame, size, 0, (struct sockaddr *)&from, &length);

	if (count < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	return from.sll_pkttype == PACKET_OUTGOING ? 0 : count;
}
