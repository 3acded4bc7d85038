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
#include "client/request.h"

static const struct program oci = {"tvmm-oci", "tvmm-oci", "oci.cjs"};

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

__attribute__((used)) void client_main(long *stack)
{
	static const char *const wanted[] = {"XDG_RUNTIME_DIR", "USER", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", NULL};
	char **argv = (char **)(stack + 1);
	int descriptors[MAX_DESCRIPTORS];
	struct answer answer;
	environment = argv + stack[0] + 1;
	fill_stdio();
	int connection = connect_engine();
	/* While it works on the answer there is time to see who it is: nothing that it says counts before that. */
	if (connection < 0 || !send_request(connection, &oci, argv, wanted) || !is_our_engine(connection)) {
		close_fd(connection);
		go_cold(&oci, argv, cold_environment());
	}
	int count = receive_answer(connection, &answer, descriptors);
	if (count == 1 && answer.type == ANSWER_LAUNCHER)
		become_launcher(&oci, connection, descriptors[0], (u32)answer.status);
	if (count < 0 || answer.type != ANSWER_DONE) {
		close_fd(connection);
		go_cold(&oci, argv, cold_environment());
	}
	int status = print_answer(connection, &answer);
	if (status < 0) {
		COMPLAIN("tvmm-oci: the engine ended while it answered");
		leave(1);
	}
	leave(status);
}

ENTRY("client_main");
