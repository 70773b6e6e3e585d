/* Sockets that probe real servers, and the wait for many of them. */
#pragma once
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/types.h>

/* Addresses are in network byte order. The source 0 leaves the choice to the routes. mark is SO_MARK, or 0 for none.
 * device is the index of the interface that the socket is bound to (SO_BINDTOIFINDEX), or 0 for none. Descriptors are
 * non-blocking and close-on-exec. Functions return -1 with errno on failure, unless noted. */

/* Starts a TCP connection. EPOLLOUT reports that the attempt has ended, and SO_ERROR how. Closing the socket resets
 * the connection, so that neither side keeps state. port is in host byte order. */
int clinux_connect(uint32_t source, uint32_t destination, uint16_t port, uint32_t mark, int device);
/* Opens a raw ICMP socket that receives echo replies only. */
int clinux_echo_socket(uint32_t source, int device);
/* Sends an ICMP echo request of 8 bytes with this mark. identifier and sequence are in host byte order. */
int clinux_send_echo(int descriptor, uint32_t destination, uint32_t mark, uint16_t identifier, uint16_t sequence);
/* Receives the next echo reply. Returns 1 with its source and numbers, or 0 if there is none. */
int clinux_receive_echo(int descriptor, uint32_t *source, uint16_t *identifier, uint16_t *sequence);
/* Returns the result of a connection: 0 or an errno. */
int clinux_socket_error(int descriptor);
/* Accepts a connection of a listening socket. */
int clinux_accept(int listener);
/* Raises the soft limit of descriptors up to `wanted`, as far as the hard limit allows. Returns the limit, or 0 on
 * failure. */
uint64_t clinux_raise_descriptor_limit(uint64_t wanted);
