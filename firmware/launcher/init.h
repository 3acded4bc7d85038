/*
 * `--init` and `--pause`: process 1 of a container of the engine (`tvmm run --init`), and the one that holds a pod's namespaces. Needs nothing
 * of the container's root: what runs there is a copy of the launcher that belongs to this container alone.
 */
#pragma once
#include "supervise.h"

#define FIRST_SIGNAL 1
#define LAST_SIGNAL 64

static void __attribute__((noreturn)) refuse(const char *what, long error)
{
	COMPLAIN(what, ": errno ", NUMBER(-error));
	leave(125);
}

/* Whoever started us may ignore signals (Node ignores SIGPIPE, nohup SIGHUP); the container begins with none ignored. */
static void prepare_signals(int blocked)
{
	for (int signal = FIRST_SIGNAL; signal <= LAST_SIGNAL; signal++)
		if (signal != SIGKILL && signal != SIGSTOP)
			set_handler(signal, 0);
	self.blocked = blocked;
	set_signal_mask(blocked ? ~0ULL : 0);
}

/* execvp(3): by PATH if the name has no slash. */
static long exec_by_path(char **argv, char **envp)
{
	static char path[8192];
	const char *folders = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	size_t name = length(argv[0]);
	long error = -ENOENT;
	for (const char *c = argv[0]; *c; c++)
		if (*c == '/')
			return sys(__NR_execve, argv[0], argv, envp);
	for (char **e = envp; *e; e++)
		if ((*e)[0] == 'P' && (*e)[1] == 'A' && (*e)[2] == 'T' && (*e)[3] == 'H' && (*e)[4] == '=')
			folders = *e + 5;
	while (*folders) {
		size_t n = 0;
		while (folders[n] && folders[n] != ':')
			n++;
		if (n + name + 2 <= sizeof path) {
			memcpy(path, folders, n);
			path[n] = '/';
			memcpy(path + n + 1, argv[0], name + 1);
			long result = sys(__NR_execve, path, argv, envp);
			if (result != -ENOENT && result != -ENOTDIR)
				error = result;
		}
		folders += folders[n] ? n + 1 : n;
	}
	return error;
}

static void __attribute__((noreturn)) be_init(char **argv, char **envp)
{
	prepare_signals(1);
	long child = sys(__NR_clone, SIGCHLD, 0, 0, 0, 0);
	if (child == 0) {
		set_signal_mask(0);
		long error = exec_by_path(argv, envp);
		COMPLAIN("cannot start ", argv[0], ": errno ", NUMBER(-error));
		leave(error == -ENOENT || error == -ENOTDIR ? 127 : 126);
	}
	if (failed(child))
		refuse("cannot start a process", child);
	leave(exit_status(supervise((int)child, 1)));
}

static void __attribute__((noreturn)) pause_until_told(void)
{
	const u64 all = ~0ULL;
	int status;
	prepare_signals(1);
	for (;;) {
		while (wait_for(-1, &status, WNOHANG) > 0)
			;
		long signal = sys(__NR_rt_sigtimedwait, &all, NULL, NULL, 8);
		if (signal == SIGTERM || signal == SIGINT)
			leave(0);
	}
}
