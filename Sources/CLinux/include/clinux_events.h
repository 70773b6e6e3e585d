/* Sockets that ask a real server something, and waiting for many of them. */
#pragma once
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/types.h>

/* Addresses are in network byte order; source 0: whatever the routes say. mark is SO_MARK, 0 for none; device the index of
 * the interface that the socket is bound to (SO_BINDTOIFINDEX), 0 for none. Descriptors do not block and are
 * close-on-exec; -1 with errno. */

/* A TCP connection that is on its way (EPOLLOUT: it is decided, see SO_ERROR). Closing it resets it: neither side keeps
 * anything of it. port is in host byte order. */
int clinux_connect(uint32_t source, uint32_t destination, uint16_t port, uint32_t mark, int device);
/* A raw ICMP socket that hears echo replies only. */
int clinux_echo_socket(uint32_t source, int device);
/* Sends an ICMP echo request of 8 bytes with that mark. */
int clinux_send_echo(int descriptor, uint32_t destination, uint32_t mark, uint16_t identifier, uint16_t sequence);
/* The next echo reply that came in: 1, and whose it is; 0 where there is none. */
int clinux_receive_echo(int descriptor, uint32_t *source, uint16_t *identifier, uint16_t *sequence);
/* What became of a connection: 0, or an errno. */
int clinux_socket_error(int descriptor);
/* A connection that has come in at a listening socket. */
int clinux_accept(int listener);
/* How many descriptors the process may have; raises the soft limit as far as it can, but not above `wanted`. */
uint64_t clinux_raise_descriptor_limit(uint64_t wanted);
