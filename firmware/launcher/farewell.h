/*
 * What the resident engine says to the caller at the command line (src/container/serve/wire.ts), as the native client and the launcher in the
 * client's place hear it: answers of 16 bytes, then what is to be printed. The launch has a control socket of its own, so that its end can
 * be told while the caller still waits for the last word here.
 */
#pragma once
#include "sys.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define MSG_CMSG_CLOEXEC 0x40000000
#define MAX_DESCRIPTORS 4
/* Above whatever the caller has open for the container. */
#define ASIDE 300

enum {
	ANSWER_COLD = 1,
	ANSWER_PLAN = 2,
	ANSWER_DONE = 3,
	ANSWER_LAUNCHER = 4,
	/* To tvmm.c alone. */
	ANSWER_TAKEN = 5,
	ANSWER_PRINT = 6,
	ANSWER_SPAWN = 7,
	ANSWER_ATTACH = 8,
	ANSWER_JOIN = 9,
	ANSWER_CLEANED = 10,
};

struct answer {
	u32 type;
	/* Exit status; of a plan the number for its control socket; of a launcher the namespaces that it can make while it waits. */
	i32 status;
	/* Bytes for stdout and stderr, behind this; of a plan how many descriptors come along. */
	u32 output, errors;
};

_Static_assert(sizeof(struct answer) == 16, "the answers of wire.ts");

static int is_sealed(int fd)
{
	long seals = sys(__NR_fcntl, fd, F_GET_SEALS);
	return !failed(seals) && (seals & SEALS) == SEALS;
}

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
static inline int print_answer(int fd, const struct answer *answer)
{
	if (!pass_on(fd, 1, answer->output) || !pass_on(fd, 2, answer->errors))
		return -1;
	return answer->status & 0xff;
}

/* An answer, with the descriptors that come along. Returns how many those are, or -1 for what is no answer. */
static int receive_answer(int fd, struct answer *answer, int *descriptors)
{
	struct {
		u64 size;
		int level, type, fds[MAX_DESCRIPTORS];
	} control;
	struct {
		void *data;
		u64 size;
	} vector = {answer, sizeof *answer};
	struct {
		void *name;
		u32 name_size, padding;
		void *vectors;
		u64 count;
		void *control;
		u64 control_size;
		int flags, padding2;
	} message = {.vectors = &vector, .count = 1, .control = &control, .control_size = sizeof control};
	long got;
	do
		got = sys(__NR_recvmsg, fd, &message, MSG_CMSG_CLOEXEC);
	while (got == -EINTR);
	/* 8 is MSG_CTRUNC: more descriptors than anybody should send. */
	if (got <= 0 || (message.flags & 8) ||
	    ((u64)got < sizeof *answer && !read_whole(fd, (u8 *)answer + got, sizeof *answer - (u64)got)))
		return -1;
	if (message.control_size < 16 || control.level != SOL_SOCKET || control.type != SCM_RIGHTS || control.size < 16)
		return 0;
	int count = (int)((control.size - 16) / 4);
	for (int i = 0; i < count; i++)
		descriptors[i] = control.fds[i];
	return count;
}
