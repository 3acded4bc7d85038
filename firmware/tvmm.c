/*
 * The `tvmm` command line (@freestanding: static, no libc). Where a resident engine listens (tvmm serve), container commands are done there:
 * this program passes the command line, environment, folder and umask over the engine's Unix socket and runs errands for it in the caller's
 * own place. It prints, starts a container's minder and launcher as its own children, joins the caller's terminal or pipes to a container,
 * becomes the launcher of a command in one (exec).
 *
 *     tvmm ARGUMENTS...
 *
 * Everything else, and what the engine does not do, Node does with dist/cli.cjs: same answers, only slower. `tvmm oci` is dist/firmware/client.
 */
#include "client/attach.h"

static const struct program tvmm = {"tvmm", "tvmm-cli", "cli.cjs"};
static char **arguments;
/* The engine has begun: it cannot be done anew by somebody else. */
static int taken;

static void __attribute__((noreturn)) go(void)
{
	close_fd(link.engine);
	go_cold(&tvmm, arguments, environment);
}

static void __attribute__((noreturn)) give_up(const char *why)
{
	restore_terminal();
	write_all(2, "tvmm: ", 6);
	write_all(2, why, length(why));
	write_all(2, "\n", 1);
	leave(125);
}

/* Has a program run with descriptors from 3 on, and tells the engine how it ended. */
static void spawn(const struct answer *answer, const int *descriptors, int count)
{
	static char text[65536];
	static char *words[256];
	char *none[] = {NULL};
	u32 n = 0;
	int status = 0;
	if (answer->output == 0 || answer->output > sizeof text || !read_whole(link.engine, text, answer->output) ||
	    text[answer->output - 1])
		give_up("the engine wants a program started that has no name");
	for (u32 at = 0; at < answer->output && n < sizeof words / sizeof *words - 1; at += (u32)length(text + at) + 1)
		words[n++] = text + at;
	long pid = sys(__NR_fork);
	if (pid == 0) {
		int aside[MAX_DESCRIPTORS];
		for (int i = 0; i < count; i++)
			aside[i] = (int)sys(__NR_fcntl, descriptors[i], F_DUPFD, 3 + MAX_DESCRIPTORS);
		for (int i = 0; i < count; i++)
			if (failed(sys(__NR_dup2, aside[i], 3 + i)))
				leave(125);
		/* Before Linux 5.9 there is no such call; nobody has that many descriptors, mostly. */
		if (failed(sys(__NR_close_range, 3 + count, ~0U, 0)))
			for (int fd = 3 + count; fd < 1024; fd++)
				sys(__NR_close, fd);
		set_handler(SIGPIPE, 0);
		sys(__NR_execve, words[0], words, none);
		leave(125);
	}
	for (int i = 0; i < count; i++)
		close_fd(descriptors[i]);
	if (failed(pid) || failed(wait_for((int)pid, &status, 0)))
		status = 125 << 8;
	say(SAY_SPAWNED, status);
}

/* Becomes the launcher of a command in a container. Bit 0: without our stdin, bit 1: without our stdout and stderr. */
static void __attribute__((noreturn)) become(const struct answer *answer, int launcher)
{
	for (int fd = 0; fd < 3; fd++) {
		if (!(answer->output & (fd == 0 ? 1 : 2)))
			continue;
		long null = sys(__NR_open, "/dev/null", O_RDWR);
		sys(__NR_dup2, null, fd);
		close_fd((int)null);
	}
	set_handler(SIGPIPE, 0);
	become_launcher(&tvmm, link.engine, launcher, (u32)answer->status);
}

static void print_texts(const struct answer *answer)
{
	static u8 piece[16384];
	u32 sizes[] = {answer->output, answer->errors};
	for (int i = 0; i < 2; i++)
		for (u32 left = sizes[i], n; left > 0; left -= n) {
			n = left < sizeof piece ? left : sizeof piece;
			if (!read_whole(link.engine, piece, n))
				give_up("the engine ended while it answered");
			print(1 + i, piece, n);
		}
}

static void obey(const struct answer *answer, const int *descriptors, int count)
{
	static char folder[4096];
	switch (answer->type) {
	case ANSWER_COLD:
		go();
	case ANSWER_TAKEN:
		taken = 1;
		set_handler(SIGPIPE, 1);
		return;
	case ANSWER_PRINT:
		print_texts(answer);
		return;
	case ANSWER_SPAWN:
		spawn(answer, descriptors, count);
		return;
	case ANSWER_ATTACH:
		if (answer->output == 0 || answer->output >= sizeof folder || !read_whole(link.engine, folder, answer->output))
			give_up("the engine ended while it answered");
		folder[answer->output] = 0;
		attach(folder, (u32)answer->status, count == 1 ? descriptors[0] : -1);
		return;
	case ANSWER_JOIN:
		join();
		return;
	case ANSWER_CLEANED:
		say_cleaned();
		return;
	case ANSWER_LAUNCHER:
		if (count == 1)
			become(answer, descriptors[0]);
		break;
	case ANSWER_DONE:
		restore_terminal();
		print_texts(answer);
		finish(answer->status & 0xff);
	}
	give_up("the engine says what this program does not understand");
}

/* The engine has ended. What runs goes on: the minder does what the engine would have done, and the next command what is left. */
static void without_engine(void)
{
	if (!taken)
		go();
	if (!link.joined)
		give_up("the engine ended while it worked on this");
	forget_engine();
}

__attribute__((used)) void tvmm_main(long *stack)
{
	static char client[4200];
	int descriptors[MAX_DESCRIPTORS];
	struct answer answer;
	struct termios settings;
	arguments = (char **)(stack + 1);
	environment = arguments + stack[0] + 1;
	fill_stdio();
	if (stack[0] >= 2 && equal(arguments[1], "oci") && package_folder(client, 4000)) {
		append(client + length(client), client + sizeof client, "/firmware/client");
		sys(__NR_execve, client, arguments + 1, environment);
	}
	link.engine = connect_engine();
	/* The caller's whole environment is nobody else's. */
	if (link.engine < 0 || !is_our_engine(link.engine))
		go();
	for (int fd = 0; fd < 3; fd++)
		if (!failed(sys(__NR_ioctl, fd, TCGETS, &settings)))
			request.header.terminals |= 1u << fd;
	if (!send_request(link.engine, &tvmm, arguments, NULL))
		go();
	for (;;) {
		if ((link.minder >= 0 || link.joined) && !hear_all()) {
			if (link.engine < 0 && link.ended)
				finish(link.wait_status == -1 ? 255 : exit_status(link.wait_status));
			if (link.engine < 0 && link.minder < 0)
				give_up("the engine and the container's minder have ended");
			continue;
		}
		int count = receive_answer(link.engine, &answer, descriptors);
		if (count < 0)
			without_engine();
		else
			obey(&answer, descriptors, count);
	}
}

ENTRY("tvmm_main");
