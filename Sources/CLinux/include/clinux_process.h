/* Starting a program that leaves with everything it started. */
#pragma once
#include <sys/types.h>

/* Starts argv[0] in "/" and in a process group of its own: standard input from /dev/null, output and error to the two
 * descriptors, no other descriptor, no signal blocked or ignored. 0, or an errno, exec's among them. */
int clinux_spawn(char *const argv[], char *const envp[], int output, int error, pid_t *process);
/* Readable once the process has ended (close-on-exec); -1 with errno. */
int clinux_process_descriptor(pid_t process);
/* A close-on-exec pipe whose read end does not block. -1 with errno. */
int clinux_pipe(int ends[2]);
/* Starts a thread with a small stack that nobody joins. 0, or an errno. */
int clinux_start_thread(void *(*body)(void *), void *argument);
