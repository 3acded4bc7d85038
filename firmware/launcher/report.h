/*
 * What the launcher says: fixed messages of 32 bytes over the control socket (src/container/launch/messages.ts), or a line on stderr where
 * there is no engine to hear them. A failure is told once, then the process takes the children that it cloned with it.
 */
#pragma once
#include "farewell.h"
#include "plan.h"

enum { MESSAGE_SENT = 1, MESSAGE_FAILED = 2, MESSAGE_ENDED = 3, MESSAGE_TEXT = 4, MESSAGE_ANSWER = 16, MESSAGE_CANCEL = 17 };

struct message {
	u8 type, tag;
	u16 program;
	u32 step;
	union {
		struct {
			i64 value;
			u32 error, unused;
			u64 unused2;
		};
		char text[24];
	};
};

_Static_assert(sizeof(struct message) == 32, "the messages of messages.ts");

#define MAX_CHILDREN 32

/* This process: a copy of its parent's, except for the channels and children. */
static struct {
	i64 registers[REGISTERS];
	int control;
	u32 program, step;
	/* The sockets to the parent and the children, by their programs. */
	int channels[MAX_PROGRAMS];
	/* The program of the parent process, -1 for the first. */
	int parent;
	int children[MAX_CHILDREN];
	u8 child_programs[MAX_CHILDREN];
	u32 child_count;
	/* Signals are blocked, to be handed on by a supervise step. */
	int blocked;
	/* The end of what a hook has printed. */
	char output[240];
	u32 output_length;
	/* Who hears of a failure when the engine has left, besides stderr; -1 for nobody. */
	int listener;
	/* Where the resident engine has the last word, and the process that waits for it: the caller's own. */
	int connection;
	long caller;
} self;

static long send_message(int fd, const struct message *message)
{
	long sent;
	do
		sent = sys(__NR_sendto, fd, message, sizeof *message, 0x4000 /* MSG_NOSIGNAL */);
	while (sent == -EINTR);
	return sent;
}

/* Ends the children that this process has cloned; `program`'s wait status, or -1. */
static int end_children(u32 program)
{
	int found = -1;
	for (u32 i = 0; i < self.child_count; i++) {
		int status, pid = self.children[i];
		/* One that a step has waited for is nobody's by now, or somebody else's. */
		long ended = wait_for(pid, &status, WNOHANG | 0x40000000 /* __WALL */);
		if (ended == 0) {
			sys(__NR_kill, pid, SIGKILL);
			ended = wait_for(pid, &status, 0x40000000);
		}
		if (ended == pid && self.child_programs[i] == program)
			found = status;
	}
	self.child_count = 0;
	return found;
}

/* The errnos that starting a program gives, for those who read this without an engine to explain it. */
static const char *errno_name(int error)
{
	switch (error) {
#define NAME(name) \
	case name: \
		return " (" #name ")";
		NAME(EPERM) NAME(ENOENT) NAME(EIO) NAME(E2BIG) NAME(ENOEXEC) NAME(EBADF) NAME(EAGAIN) NAME(ENOMEM) NAME(EACCES)
		NAME(EBUSY) NAME(EEXIST) NAME(ENODEV) NAME(ENOTDIR) NAME(EISDIR) NAME(EINVAL) NAME(EMFILE) NAME(ETXTBSY)
		NAME(ENOSPC) NAME(EROFS) NAME(ELOOP) NAME(ENOSYS) NAME(ETIMEDOUT) NAME(ECONNRESET)
#undef NAME
	default:
		return "";
	}
}

static void tell_stderr(int error, i64 value)
{
	const struct step *step = &plan.steps[plan.programs[self.program].first + self.step];
	if (self.output_length > 0)
		write_all(2, self.output, self.output_length);
	/* A wait status: the exit status, or the signal. */
	int signal = (int)(value & 0x7f);
	COMPLAIN("cannot ", step->what == NO_TEXT ? "go on" : (const char *)plan.data + step->what, ": step ", NUMBER(self.step),
		 " of program ", NUMBER(self.program), error ? ": errno " : signal ? ": ended by signal " : ": ended with exit status ",
		 NUMBER(error ? error : signal ? signal : value >> 8 & 0xff), errno_name(error));
}

/* `value` is a wait status where there is one, else 0. */
static void report_failure(int error, i64 value)
{
	struct message failure = {.type = MESSAGE_FAILED, .program = (u16)self.program, .step = self.step};
	for (u32 at = 0; self.control >= 0 && at < self.output_length; at += 24) {
		struct message text = {.type = MESSAGE_TEXT, .program = (u16)self.program, .step = self.step};
		text.tag = (u8)(self.output_length - at < 24 ? self.output_length - at : 24);
		memcpy(text.text, self.output + at, text.tag);
		send_message(self.control, &text);
	}
	failure.error = (u32)error;
	failure.value = value;
	if (self.control >= 0 && !failed(send_message(self.control, &failure)))
		return;
	/* An engine that has left has given the launch up: it knows why, and this step did not fail. */
	if (self.control >= 0 && error == ECONNRESET)
		return;
	tell_stderr(error, value);
	if (self.listener >= 0 && !failed(sys(__NR_dup2, self.listener, 2)))
		tell_stderr(error, value);
}

/* Ends this process. The caller of a resident engine ends as that one says, once the launch has ended or gone on without it. */
static void __attribute__((noreturn)) part(int status)
{
	struct answer answer;
	if (self.program != 0 || self.connection < 0 || sys(__NR_getpid) != self.caller)
		leave(status);
	close_fd(self.control);
	set_signal_mask(0);
	if (read_whole(self.connection, &answer, sizeof answer) && answer.type == ANSWER_DONE) {
		int last = print_answer(self.connection, &answer);
		if (last >= 0)
			leave(last);
	}
	COMPLAIN("the engine ended while this command was under way");
	leave(status ? status : 1);
}

static void __attribute__((noreturn)) fail_with(int error, i64 value, int status)
{
	/* Nobody may be left to read it. */
	set_handler(SIGPIPE, 1 /* SIG_IGN */);
	report_failure(error, value);
	end_children(0);
	part(status);
}

static long tell(int fd, u8 type, u8 tag, i64 value)
{
	struct message message = {.type = type, .tag = tag, .program = (u16)self.program, .step = self.step};
	message.value = value;
	return send_message(fd, &message);
}

/* The engine has failed, and says so itself. Its word stays in the socket: others may be waiting, too. */
static void leave_if_cancelled(void)
{
	struct message message;
	long got = sys(__NR_recvfrom, self.control, &message, sizeof message, 0x42 /* MSG_PEEK|MSG_DONTWAIT */);
	if (got == sizeof message && message.type == MESSAGE_CANCEL) {
		end_children(0);
		part(125);
	}
}

/* Whether a child that runs a program has ended otherwise than by its last step. It stays to be waited for. */
static int has_failed(u32 program)
{
	for (u32 i = 0; i < self.child_count; i++) {
		int info[32] = {0}, pid = self.children[i]; /* siginfo_t: si_code at 2, si_pid at 4, si_status at 6. */
		if (self.child_programs[i] != program)
			continue;
		sys(__NR_waitid, 1 /* P_PID */, pid, info, 0x41000005 /* __WALL|WNOWAIT|WEXITED|WNOHANG */, NULL);
		if (info[4] == pid && (info[2] != 1 /* CLD_EXITED */ || info[6] != 0))
			return 1;
	}
	return 0;
}

/*
 * Whether the engine is gone: what waits for a peer must not wait for ever behind it. Nor behind one that has failed: its socket stays
 * open where a sibling has taken it over.
 */
static int wait_for_message(int fd, u32 peer)
{
	struct pollfd fds[2] = {{fd, POLLIN, 0}, {self.control, 0, 0}};
	for (;;) {
		long ready = sys(__NR_poll, fds, 2, peer == ENGINE ? -1 : 100);
		if (ready == -EINTR)
			continue;
		if (ready == 0) {
			if (!has_failed(peer))
				continue;
			/* What it said before its end counts. */
			if (sys(__NR_poll, fds, 1, 0) != 1)
				return ECONNRESET;
			return 0;
		}
		if (failed(ready))
			return (int)-ready;
		if (fds[0].revents)
			return 0;
		leave_if_cancelled();
		return ECANCELED;
	}
}

/*
 * Takes the message with `tag` from a socket: of the program `peer`, or the engine's. Several processes may read from the engine's: each looks before it takes, and leaves what is
 * another's. Returns an errno or 0; not at all where the engine has given the launch up.
 */
static int receive(int fd, u32 peer, u8 tag, i64 *value)
{
	struct message message;
	for (;;) {
		int error = wait_for_message(fd, peer);
		if (error)
			return error;
		long got = sys(__NR_recvfrom, fd, &message, sizeof message, 0x42 /* MSG_PEEK|MSG_DONTWAIT */);
		if (got == 0 || got == -ECONNRESET)
			return ECONNRESET;
		if (got == -EINTR || got == -EAGAIN)
			continue;
		if (failed(got))
			return (int)-got;
		if (fd == self.control)
			leave_if_cancelled();
		if ((u64)got < sizeof message || (message.tag != tag && fd == self.control)) {
			/* An engine that is gone says nothing more. */
			struct pollfd end = {fd, 0, 0};
			if (sys(__NR_poll, &end, 1, 0) == 1)
				return ECONNRESET;
			sleep_ms(1);
			continue;
		}
		if (message.tag != tag)
			return EPROTO;
		got = sys(__NR_recvfrom, fd, &message, sizeof message, 0x40);
		if (got != sizeof message || message.tag != tag)
			return EPROTO;
		*value = message.value;
		return 0;
	}
}
