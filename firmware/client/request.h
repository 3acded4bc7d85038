/*
 * What the native clients at the command line share: the request that goes to the resident engine (src/container/serve/wire.ts has its
 * layout), finding an engine that may be believed, and the cold way: Node with the same command line. A client trusts nobody but an engine
 * of its own user in its own namespaces.
 */
#pragma once
#include "../launcher/farewell.h"

#define WIRE_VERSION 2
#define MAX_REQUEST 131072
#define AF_UNIX 1
#define SOCK_STREAM 1
#define SO_PEERCRED 17

struct request {
	char magic[8];
	/* Bytes with this header; of the program's version nothing else is asked than this format's. */
	u32 version, size;
	/* Of the terminals bit n says that descriptor n is one. */
	u32 umask, arguments, variables, terminals;
	/* Then the working directory, the arguments, the variables, each with a zero byte behind it. */
};

static struct {
	struct request header;
	char text[MAX_REQUEST - sizeof(struct request)];
} request;

/* The program that a client stands in for. */
struct program {
	const char *name;
	/* Eight bytes that a request begins with. */
	const char *magic;
	/* Below dist/. */
	const char *script;
};

static char **environment;

/* The value of a variable, or a null pointer. */
static const char *variable(const char *name)
{
	size_t n = length(name);
	for (char **e = environment; *e; e++) {
		size_t i = 0;
		while (i < n && (*e)[i] == name[i])
			i++;
		if (i == n && (*e)[n] == '=')
			return *e + n + 1;
	}
	return NULL;
}

static char *append(char *to, const char *end, const char *text)
{
	while (to < end - 1 && *text)
		*to++ = *text++;
	*to = 0;
	return to;
}

/* The folder that dist/firmware/client is two levels below, or 0. */
static int package_folder(char *path, size_t size)
{
	long n = sys(__NR_readlink, "/proc/self/exe", path, size - 1);
	if (failed(n) || n == 0)
		return 0;
	path[n] = 0;
	for (int levels = 2; n > 0 && levels > 0; n--)
		if (path[n - 1] == '/' && --levels == 0)
			path[n - 1] = 0;
	return 1;
}

#define MAX_WORDS 16384

/* Starts Node: by PATH, then by the script's own first line. */
static void __attribute__((noreturn)) go_cold(const struct program *program, char **argv, char **variables)
{
	static char script[4200], path[4200];
	static char *words[MAX_WORDS + 1];
	const char *folders = variable("PATH");
	size_t n = 3;
	if (!package_folder(script, 4000)) {
		COMPLAIN(program->name, ": cannot find out where this program is");
		leave(1);
	}
	append(append(script + length(script), script + sizeof script, "/"), script + sizeof script, program->script);
	words[0] = "node";
	/* Or Node would take --env-file for its own, wherever it stands. */
	words[1] = "--";
	words[2] = script;
	while (argv[n - 2]) {
		if (n == MAX_WORDS) {
			COMPLAIN(program->name, ": too many arguments");
			leave(1);
		}
		words[n] = argv[n - 2];
		n++;
	}
	if (!folders)
		folders = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	while (*folders) {
		size_t folder = 0;
		while (folders[folder] && folders[folder] != ':')
			folder++;
		if (folder > 0 && folder < 4000) {
			memcpy(path, folders, folder);
			append(path + folder, path + sizeof path, "/node");
			sys(__NR_execve, path, words, variables);
		}
		folders += folders[folder] ? folder + 1 : folder;
	}
	long error = sys(__NR_execve, script, argv, variables);
	COMPLAIN(program->name, ": cannot start node with ", script, ": errno ", NUMBER(-error));
	leave(1);
}

/* Connects with the engine that listens for this user; a negative number when none does. */
static int connect_engine(void)
{
	struct {
		u16 family;
		char path[108];
	} address = {.family = AF_UNIX};
	char *end = address.path + sizeof address.path;
	const char *given = variable("TVMM_ENGINE"), *runtime = variable("XDG_RUNTIME_DIR");
	char *at;
	if (given && *given)
		at = append(address.path, end, given);
	else if (sys(__NR_geteuid) == 0)
		at = append(address.path, end, "/run/tvmm-serve/engine.sock");
	else if (runtime && *runtime)
		at = append(append(address.path, end, runtime), end, "/tvmm-serve/engine.sock");
	else
		return -1;
	if (at >= end - 1)
		return -1;
	long fd = sys(__NR_socket, AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0);
	if (failed(fd))
		return -1;
	if (failed(sys(__NR_connect, fd, &address, sizeof address))) {
		close_fd((int)fd);
		return -1;
	}
	long aside = sys(__NR_fcntl, fd, F_DUPFD_CLOEXEC, ASIDE);
	close_fd((int)fd);
	return failed(aside) ? -1 : (int)aside;
}

/* Whether a process is in this one's namespaces. */
static int shares_namespaces(int pid)
{
	static const char *const names[] = {"mnt", "pid", "user", "net", "ipc", "uts", "cgroup", "time"};
	char path[48];
	append(append(append(path, path + sizeof path, "/proc/"), path + 32, NUMBER(pid)), path + sizeof path, "/ns");
	long theirs = sys(__NR_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	long own = sys(__NR_openat, AT_FDCWD, "/proc/self/ns", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int same = !failed(theirs) && !failed(own);
	for (size_t i = 0; same && i < sizeof names / sizeof *names; i++) {
		/* `mnt:[4026531841]`: the number names the namespace, and a link is read in half the time that its target takes to be looked at. */
		char mine[64] = {0}, other[64] = {0};
		long there = sys(__NR_readlinkat, theirs, names[i], other, sizeof other - 1);
		long here = sys(__NR_readlinkat, own, names[i], mine, sizeof mine - 1);
		/* A kernel without this kind of namespace has neither file. */
		same = (there == -ENOENT && here == -ENOENT) || (there > 0 && here > 0 && equal(mine, other));
	}
	close_fd((int)theirs);
	close_fd((int)own);
	return same;
}

static int is_our_engine(int fd)
{
	struct {
		int pid;
		u32 uid, gid;
	} peer = {0, 0, 0};
	u32 size = sizeof peer;
	return !failed(sys(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)) && size == sizeof peer && peer.pid > 0 &&
	       peer.uid == (u32)sys(__NR_geteuid) && shares_namespaces(peer.pid);
}

/* Adds a text with its zero byte. Returns where the next one goes, or a null pointer when there is no room. */
static char *add_text(char *at, const char *text)
{
	char *end = request.text + sizeof request.text;
	at = append(at, end, text) + 1;
	return at < end ? at : NULL;
}

/* Whether a variable is among those named; all are where there are no names. */
static int is_wanted(const char *line, const char *const *names)
{
	if (!names)
		return 1;
	for (; *names; names++) {
		size_t i = 0;
		while ((*names)[i] && line[i] == (*names)[i])
			i++;
		if (!(*names)[i] && line[i] == '=')
			return 1;
	}
	return 0;
}

/* Returns 0 when it is more than a request can be, or there is nobody to take it. */
static int send_request(int fd, const struct program *program, char **argv, const char *const *names)
{
	char *at = request.text;
	long cwd = sys(__NR_getcwd, at, 4096);
	if (failed(cwd) || *at != '/')
		return 0;
	at += cwd;
	memcpy(request.header.magic, program->magic, sizeof request.header.magic);
	request.header.version = WIRE_VERSION;
	for (char **word = argv + 1; *word; word++, request.header.arguments++)
		if (!(at = add_text(at, *word)))
			return 0;
	for (char **line = environment; *line; line++) {
		if (!is_wanted(*line, names))
			continue;
		if (!(at = add_text(at, *line)))
			return 0;
		request.header.variables++;
	}
	request.header.umask = (u32)sys(__NR_umask, 0);
	sys(__NR_umask, request.header.umask);
	request.header.size = (u32)(at - (char *)&request);
	for (u32 sent = 0; sent < request.header.size;) {
		long result = sys(__NR_sendto, fd, (char *)&request + sent, request.header.size - sent, 0x4000 /* MSG_NOSIGNAL */);
		if (result == -EINTR)
			continue;
		if (result <= 0)
			return 0;
		sent += (u32)result;
	}
	return 1;
}

/* Becomes the launcher, which hears the rest at the connection: it starts while the engine still works on the plan. */
static void __attribute__((noreturn)) become_launcher(const struct program *program, int connection, int launcher, u32 namespaces)
{
	char connection_at[21], namespace_flags[21];
	if (!is_sealed(launcher)) {
		COMPLAIN(program->name, ": the engine has sent no sealed launcher");
		leave(1);
	}
	sys(__NR_fcntl, connection, F_SETFD, 0);
	append(connection_at, connection_at + sizeof connection_at, NUMBER(connection));
	append(namespace_flags, namespace_flags + sizeof namespace_flags, NUMBER(namespaces));
	char *none[] = {NULL}, *words[] = {"tvmm-launcher", "--client", connection_at, namespace_flags, NULL};
	long error = sys(__NR_execveat, launcher, "", words, none, AT_EMPTY_PATH);
	COMPLAIN(program->name, ": cannot run the launcher: errno ", NUMBER(-error));
	leave(1);
}

/* Descriptors 0 to 2 must be something, or a socket of ours becomes the container's stdin. */
static void fill_stdio(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (sys(__NR_fcntl, fd, F_GETFD) == -EBADF && sys(__NR_open, "/dev/null", O_RDWR) != fd)
			leave(1);
}

#define ENTRY(function) __asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall " function "\n")
