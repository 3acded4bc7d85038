/*
 * Stays with a child until it ends: hands on every signal, reaps, and leaves as the child did. The last step of a launcher in the
 * foreground, and all that `--init` does.
 */
#pragma once
#include "report.h"

#define SI_KERNEL 0x80

struct signal_info {
	int number, error, code;
	u8 rest[116];
};

/* What a fault of our own raises, and what says nothing to the child. */
static int is_ours(int signal)
{
	return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE || signal == SIGTRAP ||
	       signal == SIGSYS || signal == SIGPIPE;
}

static void hand_on(int child, const struct signal_info *info)
{
	int from_terminal = info->code == SI_KERNEL;
	/* The terminal has told the child as well, if it is of our process group. */
	if (from_terminal && sys(__NR_getpgid, child) == sys(__NR_getpgid, 0)) {
		if (info->number == SIGTSTP || info->number == SIGTTIN || info->number == SIGTTOU)
			sys(__NR_kill, sys(__NR_getpid), SIGSTOP);
		return;
	}
	if (!is_ours(info->number))
		sys(__NR_kill, child, info->number);
}

/* The child's wait status. Signals must be blocked already if none may be lost. */
static int supervise(int child, int reap)
{
	const u64 all = ~0ULL;
	struct signal_info info;
	int status;
	set_signal_mask(all);
	for (;;) {
		long pid;
		while ((pid = wait_for(reap ? -1 : child, &status, WNOHANG)) > 0)
			if (pid == child)
				return status;
		if (failed(pid))
			return 125 << 8; /* Somebody else has reaped it: nobody knows how it ended. */
		long signal = sys(__NR_rt_sigtimedwait, &all, &info, NULL, 8);
		if (signal > 0 && signal != SIGCHLD)
			hand_on(child, &info);
	}
}
