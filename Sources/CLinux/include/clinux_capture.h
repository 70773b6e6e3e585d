/* Capturing the frames of an interface. */
#pragma once
#include <stdint.h>
#include <sys/types.h>

/* Opens a packet socket for the incoming frames of an interface. A receive call waits for at most timeout_ms. -1
 * with errno. */
int clinux_packet_socket(int interface, int timeout_ms);
/* Receives the next frame, truncated to `size`, and returns its size. Returns 0 after the time-out, after a signal,
 * and for an outgoing frame. -1 with errno. */
ssize_t clinux_receive_frame(int descriptor, void *frame, size_t size);
