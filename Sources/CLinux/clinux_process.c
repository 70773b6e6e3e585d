#define _GNU_SOURCE
#include "clinux_process.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

int clinux_spawn(char *const argv[], char *const envp[], int output, int error, pid_t *process)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int code;

	code = posix_spawn_file_actions_init(&actions);
	if (code)
		return code;
	code = posix_spawnattr_init(&attributes);
	if (code) {
		posix_spawn_file_actions_destroy(&actions);
		return code;
	}
	sigemptyset(&none);
	sigfillset(&all);
	if (!code)
		code = posix_spawnattr_setflags(&attributes,
						POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	if (!code)
		code = posix_spawnattr_setpgroup(&attributes, 0);
	if (!code)
		code = posix_spawnattr_setsigmask(&attributes, &none);
	if (!code)
		code = posix_spawnattr_setsigdefault(&attributes, &all);
	if (!code)
		code = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (!code)
		code = posix_spawn_file_actions_adddup2(&actions, output, 1);
	if (!code)
		code = posix_spawn_file_actions_adddup2(&actions, error, 2);
	if (!code)
		code = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	if (!code)
		code = posix_spawn_file_actions_addchdir_np(&actions, "/");
	if (!code)
		code = posix_spawn(process, argv[0], &actions, &attributes, argv, envp);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return code;
}

int clinux_process_descriptor(pid_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

int clinux_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC))
		return -1;
	return fcntl(ends[0], F_SETFL, O_NONBLOCK);
}

int clinux_start_thread(void *(*body)(void *), void *argument)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int code = pthread_attr_init(&attributes);

	if (code)
		return code;
	code = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (!code)
		code = pthread_attr_setstacksize(&attributes, 256 << 10);
	if (!code)
		code = pthread_create(&thread, &attributes, body, argument);
	pthread_attr_destroy(&attributes);
	return code;
}
