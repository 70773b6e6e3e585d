/* Starting programs whose whole process group can be killed. */
#pragma once
#include <sys/types.h>

/* Starts argv[0] in "/" and in a process group of its own. Standard input is /dev/null. Output and error are the two
 * descriptors, and no other descriptor is inherited. No signal is blocked or ignored. Returns 0, or an errno, which
 * may be the one of exec. */
int clinux_spawn(char *const argv[], char *const envp[], int output, int error, pid_t *process);
/* Returns a close-on-exec descriptor that is readable once the process has ended. -1 with errno. */
int clinux_process_descriptor(pid_t process);
/* Creates a close-on-exec pipe with a non-blocking read end. -1 with errno. */
int clinux_pipe(int ends[2]);
/* Starts a detached thread with a small stack. Returns 0, or an errno. */
int clinux_start_thread(void *(*body)(void *), void *argument);
