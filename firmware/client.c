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
