/*
 * What the resident engine says to the caller at the command line (src/container/serve/wire.ts), as the native client and the launcher in the
 * client's place hear it: answers of 16 bytes, then what is to be printed. The launch has a control socket of its own, so that its end can
 * be told while the caller still waits for the last word here.
 */
#pragma once
#include "sys.h"

enum { ANSWER_COLD = 1, ANSWER_PLAN = 2, ANSWER_DONE = 3 };

struct answer {
	u32 type;
	/* Exit status; of a plan the number for its control socket. */
	i32 status;
	/* Bytes for stdout and stderr, behind this; of a plan how many descriptors come along. */
	u32 output, errors;
};

_Static_assert(sizeof(struct answer) == 16, "the answers of wire.ts");

/* Reads exactly `n` bytes. Returns 1, or 0 when the engine has left. */
static int read_whole(int fd, void *into, u64 n)
{
	for (u64 got = 0; got < n;) {
		long result = sys(__NR_read, fd, (u8 *)into + got, n - got);
		if (result == -EINTR)
			continue;
		if (result <= 0)
			return 0;
		got += (u64)result;
	}
	return 1;
}

static int pass_on(int fd, int to, u64 n)
{
	static u8 piece[4096];
	while (n > 0) {
		u64 now = n < sizeof piece ? n : sizeof piece;
		if (!read_whole(fd, piece, now))
			return 0;
		write_all(to, (const char *)piece, now);
		n -= now;
	}
	return 1;
}

/* Prints what the engine wants printed. Returns the exit status, or -1 when it has left half-way. */
static int print_answer(int fd, const struct answer *answer)
{
	if (!pass_on(fd, 1, answer->output) || !pass_on(fd, 2, answer->errors))
		return -1;
	return answer->status & 0xff;
}
