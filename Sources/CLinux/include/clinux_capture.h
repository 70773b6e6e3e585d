/* What passes an interface. */
#pragma once
#include <stdint.h>
#include <sys/types.h>

/* A packet socket that hears the frames that come in on an interface, for at most timeout_ms a call; -1 with errno. */
int clinux_packet_socket(int interface, int timeout_ms);
/* The next frame's size, cut off at `size`; 0: none within the time-out, or it went out. -1 with errno. */
ssize_t clinux_receive_frame(int descriptor, void *frame, size_t size);
