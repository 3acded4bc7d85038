/*
 * The caller's terminal or pipes joined to a container: frames to and from its minder (firmware/minder.c has the table), signals, the
 * terminal's size, the detach keys. What src/container/engine/attach.ts and src/cli/engine/foreground.ts do in Node.
 */
#pragma once
#include "request.h"
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <asm/termios.h>
#include <linux/signalfd.h>

/* What the client says to the engine besides its request; src/container/serve/errand.ts has the same table. */
enum { SAY_SPAWNED = 1, SAY_ATTACHED = 2, SAY_SIGNAL = 3, SAY_ENDED = 4, SAY_DETACHED = 5, SAY_LOST = 6 };

/* What an attachment is like. */
enum { JOIN_INPUT = 1, JOIN_TERMINAL = 2, JOIN_SIGNALS = 4, JOIN_CLEANS_UP = 8, JOIN_OWNS_INPUT = 16 };

enum {
	FRAME_STDIN = 1,
	FRAME_STDIN_END = 2,
	FRAME_RESIZE = 3,
	FRAME_SUBSCRIBE = 5,
	FRAME_DONE = 6,
	FRAME_STDOUT = 11,
	FRAME_STDERR = 12,
	FRAME_END = 13,
	FRAME_OK = 14,
};

#define FRAME_HEADER 5
#define MAX_FRAME 65536
/* 128 + SIGPIPE, as any other program whose reader left. */
#define STATUS_PIPE 141
#define SIGNAL_BIT(n) (1UL << ((n) - 1))

static struct {
	/* With the engine, and with the minder: -1 when there is none. */
	int engine, minder, container, signals;
	u32 kind;
	int joined, input, raw, subscribed, ended;
	i32 wait_status;
	struct termios before;
	u32 matched;
	u32 in_used, out_used;
} link = {.engine = -1, .minder = -1, .container = -1, .signals = -1};

static u8 from_minder[FRAME_HEADER + MAX_FRAME], to_minder[2 * MAX_FRAME];

static void restore_terminal(void)
{
	if (link.raw)
		sys(__NR_ioctl, 0, TCSETS, &link.before);
	link.raw = 0;
}

static void __attribute__((noreturn)) finish(int status)
{
	restore_terminal();
	leave(status);
}

/* All of it, however slow the reader is: so is the container, then. */
static void print(int to, const u8 *bytes, size_t n)
{
	while (n > 0) {
		long wrote = sys(__NR_write, to, bytes, n);
		if (wrote == -EAGAIN) {
			struct pollfd room = {to, POLLOUT, 0};
			sys(__NR_poll, &room, 1, -1);
		} else if (wrote == -EPIPE) {
			finish(STATUS_PIPE);
		} else if (wrote < 0 && wrote != -EINTR) {
			finish(125);
		} else if (wrote > 0) {
			bytes += wrote;
			n -= (size_t)wrote;
		}
	}
}

static void forget_engine(void)
{
	close_fd(link.engine);
	link.engine = -1;
}

static void say(u32 type, i32 value)
{
	struct {
		u32 type;
		i32 value;
	} message = {type, value};
	if (link.engine >= 0 && sys(__NR_sendto, link.engine, &message, sizeof message, 0x4000 /* MSG_NOSIGNAL */) != sizeof message)
		forget_engine();
}

/* ---- to the minder ---- */

static void lose_minder(void)
{
	close_fd(link.minder);
	link.minder = -1;
	link.out_used = 0;
}

static void flush(void)
{
	u32 sent = 0;
	while (link.minder >= 0 && sent < link.out_used) {
		long n = sys(__NR_sendto, link.minder, to_minder + sent, link.out_used - sent, 0x4040 /* MSG_NOSIGNAL | MSG_DONTWAIT */);
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			break;
		/* Its end is about to be read. */
		if (n <= 0)
			sent = link.out_used;
		else
			sent += (u32)n;
	}
	for (u32 i = sent; i < link.out_used; i++)
		to_minder[i - sent] = to_minder[i];
	link.out_used -= sent;
}

static void send_frame(int type, const void *payload, u32 size)
{
	if (link.minder < 0 || link.out_used + FRAME_HEADER + size > sizeof to_minder)
		return;
	u8 *at = to_minder + link.out_used;
	at[0] = (u8)type;
	memcpy(at + 1, &size, 4);
	memcpy(at + FRAME_HEADER, payload, size);
	link.out_used += FRAME_HEADER + size;
	flush();
}

static void send_size(void)
{
	struct winsize size;
	if (!(link.kind & JOIN_TERMINAL) || failed(sys(__NR_ioctl, 1, TIOCGWINSZ, &size)))
		return;
	u16 payload[2] = {size.ws_row, size.ws_col};
	send_frame(FRAME_RESIZE, payload, sizeof payload);
}

/* Takes the detach keys, Ctrl-P Ctrl-Q, out of what is typed. Returns how many bytes are left, or -1 when both have come. */
static long without_keys(u8 *bytes, long n, u8 *into)
{
	static const u8 keys[] = {16, 17};
	long kept = 0;
	for (long i = 0; i < n; i++) {
		if (bytes[i] == keys[link.matched]) {
			if (++link.matched == sizeof keys)
				return -1;
			continue;
		}
		for (u32 k = 0; k < link.matched; k++)
			into[kept++] = keys[k];
		link.matched = bytes[i] == keys[0];
		if (!link.matched)
			into[kept++] = bytes[i];
	}
	return kept;
}

static void take_input(void)
{
	static u8 typed[16384], passed[2 * sizeof typed];
	long n = sys(__NR_read, 0, typed, sizeof typed);
	if (n == -EINTR || n == -EAGAIN)
		return;
	if (n <= 0) {
		link.input = 0;
		send_frame(FRAME_STDIN_END, NULL, 0);
		return;
	}
	if (!(link.kind & JOIN_TERMINAL)) {
		send_frame(FRAME_STDIN, typed, (u32)n);
		return;
	}
	long kept = without_keys(typed, n, passed);
	if (kept < 0) {
		restore_terminal();
		link.input = 0;
		say(SAY_DETACHED, 0);
		lose_minder();
		if (link.engine < 0)
			finish(0);
	} else if (kept > 0) {
		send_frame(FRAME_STDIN, passed, (u32)kept);
	}
}

/* ---- from the minder ---- */

static void take_frame(int type, const u8 *payload, u32 size)
{
	if (type == FRAME_STDOUT || type == FRAME_STDERR)
		print(type == FRAME_STDOUT ? 1 : 2, payload, size);
	else if (type == FRAME_OK && !link.subscribed) {
		link.subscribed = 1;
		say(SAY_ATTACHED, 0);
	} else if (type == FRAME_END && size == 4 && !link.ended) {
		link.ended = 1;
		memcpy(&link.wait_status, payload, 4);
		restore_terminal();
		say(SAY_ENDED, link.wait_status);
	}
}

static void take_frames(void)
{
	long n = sys(__NR_recvfrom, link.minder, from_minder + link.in_used, sizeof from_minder - link.in_used, 0x40 /* MSG_DONTWAIT */);
	if (n == -EINTR || n == -EAGAIN)
		return;
	if (n <= 0) {
		lose_minder();
		if (link.ended)
			return;
		restore_terminal();
		say(SAY_LOST, 0);
		return;
	}
	link.in_used += (u32)n;
	u32 at = 0;
	while (link.in_used - at >= FRAME_HEADER) {
		u32 size;
		memcpy(&size, from_minder + at + 1, 4);
		if (size > MAX_FRAME) {
			lose_minder();
			return;
		}
		if (link.in_used - at < FRAME_HEADER + size)
			break;
		take_frame(from_minder[at], from_minder + at + FRAME_HEADER, size);
		at += FRAME_HEADER + size;
	}
	for (u32 i = at; i < link.in_used; i++)
		from_minder[i - at] = from_minder[i];
	link.in_used -= at;
}

/* ---- signals ---- */

static const u8 passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
/* In a terminal's raw mode Ctrl-C is a byte; a signal then comes from somewhere else and is meant for us. */
static const u8 deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

static void listen_to_signals(void)
{
	u64 set = SIGNAL_BIT(SIGWINCH);
	if (link.kind & JOIN_TERMINAL)
		for (u32 i = 0; i < sizeof deadly; i++)
			set |= SIGNAL_BIT(deadly[i]);
	else if (link.kind & JOIN_SIGNALS)
		for (u32 i = 0; i < sizeof passed_on; i++)
			set |= SIGNAL_BIT(passed_on[i]);
	sys(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, &set, NULL, 8);
	link.signals = (int)sys(__NR_signalfd4, -1, &set, 8, O_CLOEXEC | O_NONBLOCK);
}

static void die_of(int signal)
{
	restore_terminal();
	set_handler(signal, 0);
	set_signal_mask(0);
	sys(__NR_kill, sys(__NR_getpid), signal);
	leave(128 + signal);
}

static void take_signals(void)
{
	struct signalfd_siginfo info;
	while (sys(__NR_read, link.signals, &info, sizeof info) == sizeof info) {
		int signal = (int)info.ssi_signo;
		if (signal == SIGWINCH)
			send_size();
		else if (link.kind & JOIN_TERMINAL)
			die_of(signal);
		else if (link.engine >= 0)
			say(SAY_SIGNAL, signal);
		else
			sys(__NR_pidfd_send_signal, link.container, signal, NULL, 0);
	}
}

/* ---- the whole ---- */

/* Connects with the minder of the container whose folder it is, and asks for its output. Its answer is told to the engine. */
static void attach(const char *folder, u32 kind, int container)
{
	struct {
		u16 family;
		char path[108];
	} address = {.family = AF_UNIX};
	char *end = address.path + sizeof address.path;
	link.kind = kind;
	link.container = container;
	/* Paths of sockets end at 107 bytes: through the folder's descriptor every folder is near. */
	long directory = sys(__NR_open, folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	long fd = sys(__NR_socket, AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0);
	append(append(append(address.path, end, "/proc/self/fd/"), end, NUMBER(directory)), end, "/minder.sock");
	if (failed(directory) || failed(fd) || failed(sys(__NR_connect, fd, &address, sizeof address))) {
		close_fd((int)directory);
		close_fd((int)fd);
		say(SAY_LOST, 0);
		return;
	}
	close_fd((int)directory);
	link.minder = (int)fd;
	/* Who reads the first line of output may send a signal before we have joined. */
	listen_to_signals();
	/* The streams as the minder counts them: stdout, stderr, stdin ends with us, we clean up. */
	u8 streams = 3 | (kind & JOIN_OWNS_INPUT ? 4 : 0) | (kind & JOIN_CLEANS_UP ? 8 : 0);
	send_frame(FRAME_SUBSCRIBE, &streams, 1);
}

/* The program runs: from now on what is typed and signals are the container's. */
static void join(void)
{
	link.joined = 1;
	if (link.ended || link.minder < 0)
		return;
	link.input = (link.kind & JOIN_INPUT) != 0;
	if ((link.kind & JOIN_TERMINAL) && link.input && !failed(sys(__NR_ioctl, 0, TCGETS, &link.before))) {
		struct termios raw = link.before;
		raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
		raw.c_oflag &= ~(tcflag_t)OPOST;
		raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
		raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
		raw.c_cc[VMIN] = 1;
		raw.c_cc[VTIME] = 0;
		link.raw = !failed(sys(__NR_ioctl, 0, TCSETS, &raw));
	}
	send_size();
}

/* Tells the minder that everything is cleaned up, and waits until it has gone: when we leave, nothing of the container is left. */
static void say_cleaned(void)
{
	u8 rest[256];
	send_frame(FRAME_DONE, NULL, 0);
	while (link.minder >= 0) {
		long n = sys(__NR_read, link.minder, rest, sizeof rest);
		if (n <= 0 && n != -EINTR)
			lose_minder();
	}
}

/* Waits until somebody has something to say and hears all but the engine. Returns whether that is the engine. */
static int hear_all(void)
{
	struct pollfd polled[4];
	int count = 0, engine = -1, minder = -1, input = -1, signals = -1;
	if (link.engine >= 0)
		polled[engine = count++] = (struct pollfd){link.engine, POLLIN, 0};
	if (link.minder >= 0)
		polled[minder = count++] = (struct pollfd){link.minder, (short)(POLLIN | (link.out_used ? POLLOUT : 0)), 0};
	/* One piece of input at a time: a container that does not read holds its writer up. */
	if (link.minder >= 0 && link.input && !link.out_used)
		polled[input = count++] = (struct pollfd){0, POLLIN, 0};
	if (link.signals >= 0 && link.joined)
		polled[signals = count++] = (struct pollfd){link.signals, POLLIN, 0};
	if (sys(__NR_poll, polled, count, -1) < 0)
		return 0;
	if (minder >= 0 && polled[minder].revents & POLLOUT)
		flush();
	if (minder >= 0 && polled[minder].revents & (POLLIN | POLLHUP | POLLERR))
		take_frames();
	if (signals >= 0 && polled[signals].revents)
		take_signals();
	if (input >= 0 && polled[input].revents && link.minder >= 0 && !link.ended)
		take_input();
	return engine >= 0 && polled[engine].revents != 0;
}
