/*
 * The native client (@freestanding: static, no libc) of the resident engine: stands in for `tvmm-oci` at the command line. It passes the
 * command line, some variables, the working directory and the umask over the engine's Unix socket (src/container/serve), and either prints
 * what comes back, or becomes the launcher, which is sent the plan: so the container is the caller's own descendant, with the caller's
 * stdio and descriptors. It trusts nobody but an engine of its own user in its own namespaces, and executes nothing but sealed files.
 *
 *     client ARGUMENTS...     as tvmm-oci ARGUMENTS...
 *
 * Where nobody listens, or the engine wants nothing to do with this command, Node is started with dist/oci.cjs: same answers, only slower.
 */
#include "launcher/farewell.h"

#define WIRE_VERSION 2
#define MAX_REQUEST 131072
#define AF_UNIX 1
#define SOCK_STREAM 1
#define SO_PEERCRED 17

struct request {
	char magic[8];
	/* Bytes with this header; of the program's version nothing else is asked than this format's. */
	u32 version, size;
	u32 umask, arguments, variables, unused;
	/* Then the working directory, the arguments, the variables, each with a zero byte behind it. */
};

static struct {
	struct request header;
	char text[MAX_REQUEST - sizeof(struct request)];
} request;

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

#define MAX_VARIABLES 8190

/*
 * The caller's variables, with how many descriptors from 3 on are open now: Node opens its own before any script can look. Left out are
 * certificates, which Node would read at every start, and use none of.
 */
static char **cold_environment(void)
{
	static char *variables[MAX_VARIABLES + 2], descriptors[64];
	const char *left_out[] = {"NODE_EXTRA_CA_CERTS=", "TVMM_DESCRIPTORS="};
	size_t kept = 0;
	long open = 0;
	while (open < 1048576 && !failed(sys(__NR_fcntl, 3 + open, F_GETFD)))
		open++;
	for (char **e = environment; *e; e++) {
		int wanted = 1;
		for (size_t n = 0; n < sizeof left_out / sizeof *left_out; n++) {
			const char *name = left_out[n];
			size_t i = 0;
			while (name[i] && (*e)[i] == name[i])
				i++;
			wanted &= name[i] != 0;
		}
		if (kept == MAX_VARIABLES)
			return environment;
		if (wanted)
			variables[kept++] = *e;
	}
	char *end = descriptors + sizeof descriptors, *at = append(descriptors, end, "TVMM_DESCRIPTORS=");
	at = append(append(at, end, NUMBER(sys(__NR_getpid))), end, ":");
	append(at, end, NUMBER(open));
	variables[kept++] = descriptors;
	variables[kept] = NULL;
	return variables;
}

/* Starts Node: by PATH, then by the script's own first line. */
static void __attribute__((noreturn)) go_cold(char **argv)
{
	static char script[4200], path[4200];
	static char *words[4096];
	const char *folders = variable("PATH");
	char **variables = cold_environment();
	size_t n = 2;
	if (!package_folder(script, 4000)) {
		COMPLAIN("tvmm-oci: cannot find out where this program is");
		leave(1);
	}
	append(script + length(script), script + sizeof script, "/oci.cjs");
	words[0] = "node";
	words[1] = script;
	while (argv[n - 1] && n < 4095) {
		words[n] = argv[n - 1];
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
	COMPLAIN("tvmm-oci: cannot start node with ", script, ": errno ", NUMBER(-error));
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
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct stat mine, theirs;
		append(append(append(append(path, path + sizeof path, "/proc/"), path + 32, NUMBER(pid)), path + 40, "/ns/"),
		       path + sizeof path, names[i]);
		long there = sys(__NR_stat, path, &theirs);
		append(append(path, path + sizeof path, "/proc/self/ns/"), path + sizeof path, names[i]);
		long here = sys(__NR_stat, path, &mine);
		/* A kernel without this kind of namespace has neither file. */
		if (there == -ENOENT && here == -ENOENT)
			continue;
		if (failed(there) || failed(here) || mine.st_ino != theirs.st_ino || mine.st_dev != theirs.st_dev)
			return 0;
	}
	return 1;
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

/* Returns 0 when it is more than a request can be. */
static int send_request(int fd, char **argv)
{
	static const char *const wanted[] = {"XDG_RUNTIME_DIR", "USER", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"};
	char *at = request.text, *end = request.text + sizeof request.text;
	long cwd = sys(__NR_getcwd, at, 4096);
	if (failed(cwd) || *at != '/')
		return 0;
	at += cwd;
	request.header = (struct request){"tvmm-oci", WIRE_VERSION, 0, 0, 0, 0, 0};
	for (char **word = argv + 1; *word; word++) {
		at = append(at, end, *word) + 1;
		request.header.arguments++;
		if (at >= end)
			return 0;
	}
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		const char *value = variable(wanted[i]);
		if (!value)
			continue;
		at = append(append(append(at, end, wanted[i]), end, "="), end, value) + 1;
		request.header.variables++;
		if (at >= end)
			return 0;
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
static void __attribute__((noreturn)) become_launcher(int connection, int launcher, u32 namespaces, char **envp)
{
	char connection_at[21], namespace_flags[21];
	if (!is_sealed(launcher)) {
		COMPLAIN("tvmm-oci: the engine has sent no sealed launcher");
		leave(1);
	}
	sys(__NR_fcntl, connection, F_SETFD, 0);
	append(connection_at, connection_at + sizeof connection_at, NUMBER(connection));
	append(namespace_flags, namespace_flags + sizeof namespace_flags, NUMBER(namespaces));
	char *words[] = {"tvmm-launcher", "--client", connection_at, namespace_flags, NULL};
	long error = sys(__NR_execveat, launcher, "", words, envp, AT_EMPTY_PATH);
	COMPLAIN("tvmm-oci: cannot run the launcher: errno ", NUMBER(-error));
	leave(1);
}

__attribute__((used)) void client_main(long *stack)
{
	char **argv = (char **)(stack + 1), *none[] = {NULL};
	int descriptors[MAX_DESCRIPTORS];
	struct answer answer;
	environment = argv + stack[0] + 1;
	/* Descriptors 0 to 2 must be something, or a socket of ours becomes the container's stdin. */
	for (int fd = 0; fd < 3; fd++)
		if (sys(__NR_fcntl, fd, F_GETFD) == -EBADF && sys(__NR_open, "/dev/null", O_RDWR) != fd)
			leave(1);
	int connection = connect_engine();
	/* While it works on the answer there is time to see who it is: nothing that it says counts before that. */
	if (connection < 0 || !send_request(connection, argv) || !is_our_engine(connection)) {
		close_fd(connection);
		go_cold(argv);
	}
	int count = receive_answer(connection, &answer, descriptors);
	if (count == 1 && answer.type == ANSWER_LAUNCHER)
		become_launcher(connection, descriptors[0], (u32)answer.status, none);
	if (count < 0 || answer.type != ANSWER_DONE) {
		close_fd(connection);
		go_cold(argv);
	}
	int status = print_answer(connection, &answer);
	if (status < 0) {
		COMPLAIN("tvmm-oci: the engine ended while it answered");
		leave(1);
	}
	leave(status);
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall client_main\n");
