/*
 * The launcher (@freestanding: static, no libc): executes a launch plan. A plan is programs of system calls that the engine has compiled from
 * an OCI config.json (src/container/plan); this is all of tvmm that ever runs between the engine and the container's first program.
 *
 *     launcher FD            execute the plan that the descriptor holds
 *     launcher --client N F  be in the place of client.c, which is connected with the resident engine at descriptor N, and execute the plan
 *                            that comes from there; until then, make the namespaces F for it
 *     launcher --check FD    say whether it is one: nothing is executed
 *     launcher --init CMD... be a container's init: start CMD, hand on signals, reap
 *     launcher --pause       hold a pod's namespaces: reap, until SIGTERM or SIGINT
 *
 * The plan is copied and checked as a whole first: garbage ends with a sentence and status 125. The container must not be able to write
 * to the program that runs on the host (CVE-2019-5736), so the launcher runs from a sealed memfd, and moves itself into one if need be.
 *
 * Parts: sys.h (the kernel), plan.h (the format and its check), report.h (messages), ensure.h, copy.h, hook.h, supervise.h (steps), init.h (--init, --pause).
 */
#include "launcher/copy.h"
#include "launcher/ensure.h"
#include "launcher/hook.h"
#include "launcher/init.h"


static void run_program(u32 program);

static u64 argument(const struct step *step, int n)
{
	switch (step->kinds[n]) {
	case KIND_REGISTER:
		return (u64)self.registers[step->args[n]];
	case KIND_DATA:
		return (u64)(plan.data + step->args[n]);
	default:
		return step->args[n];
	}
}

static void set_register(u8 reg, i64 value)
{
	if (reg != NONE)
		self.registers[reg] = value;
}

static void apply_patches(const struct step *step)
{
	for (u32 i = 0; i < step->patches; i++) {
		const struct patch *patch = &plan.patches[step->first_patch + i];
		memcpy(plan.data + patch->at, &self.registers[patch->reg], patch->size);
	}
}

static u64 load(const struct step *step)
{
	u64 value = 0;
	memcpy(&value, plan.data + step->args[0], step->flags);
	return value;
}

/* Returns an errno or 0, as all steps that follow. */
static int step_call(const struct step *step)
{
	long result;
	int tries = 0;
	do
		result = sys6(step->number, (long)argument(step, 0), (long)argument(step, 1), (long)argument(step, 2),
			      (long)argument(step, 3), (long)argument(step, 4), (long)argument(step, 5));
	while ((result == -EINTR && (step->flags & 1)) ||
	       /* Something was renamed or mounted anywhere while this resolved a "..": the kernel asks for another try. */
	       (result == -EAGAIN && step->number == __NR_openat2 && ++tries < 1000));
	if (failed(result) && !(step->flags & 2)) {
		for (int i = 0; i < 4; i++)
			if (step->allow[i] == -result)
				goto allowed;
		return (int)-result;
	}
allowed:
	set_register(step->result, result);
	return 0;
}

static long clone_process(u64 flags, int cgroup)
{
	struct clone_args args = {.flags = flags, .exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD};
	if (cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (u64)cgroup;
	}
	long pid = sys(__NR_clone3, &args, sizeof args);
	/* Seccomp profiles of the container around us may know only the older call. */
	if (pid == -ENOSYS && cgroup < 0 && (flags & (CLONE_NEWTIME | CLONE_CLEAR_SIGHAND)) == 0)
		pid = sys(__NR_clone, flags | SIGCHLD, 0, 0, 0, 0);
	return pid;
}

static void die_of_signal(int signal)
{
	leave(128 + signal);
}

/*
 * The first process of a pid namespace is spared every signal that it has no handler for: a container that was created but not started could be
 * killed by SIGKILL alone. execve(2) takes the handlers away again.
 */
static void hear_signals(void)
{
	static const u8 fatal[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
	for (size_t i = 0; i < sizeof fatal; i++)
		set_handler(fatal[i], (u64)die_of_signal);
}

static int step_clone(const struct step *step)
{
	int pair[2];
	if (self.child_count == MAX_CHILDREN)
		return EAGAIN;
	long result = sys(__NR_socketpair, 1 /* AF_UNIX */, 1 /* SOCK_STREAM */ | O_CLOEXEC, 0, pair);
	if (failed(result))
		return (int)-result;
	u32 parent = self.program;
	/* A sibling talks to the common parent over the socket of the one that cloned it. */
	int kept = step->args[0] & CLONE_PARENT ? self.parent : -1;
	long pid = clone_process(step->args[0], step->reg == NONE ? -1 : (int)self.registers[step->reg]);
	if (pid == 0) {
		for (int i = 0; i < MAX_PROGRAMS; i++) {
			if (i == kept)
				continue;
			close_fd(self.channels[i]);
			self.channels[i] = -1;
		}
		close_fd(pair[0]);
		/* Only the caller's own process speaks with the resident engine. */
		close_fd(self.connection);
		self.connection = -1;
		self.channels[parent] = pair[1];
		self.parent = step->args[0] & CLONE_PARENT ? kept : (int)parent;
		self.child_count = self.blocked = 0;
		if (step->args[0] & CLONE_NEWPID)
			hear_signals();
		set_signal_mask(0);
		run_program(step->number);
	}
	close_fd(pair[1]);
	if (failed(pid)) {
		close_fd(pair[0]);
		return (int)-pid;
	}
	close_fd(self.channels[step->number]);
	self.channels[step->number] = pair[0];
	self.child_programs[self.child_count] = (u8)step->number;
	self.children[self.child_count++] = (int)pid;
	set_register(step->result, pid);
	return 0;
}

static int jumps(const struct step *step)
{
	i64 value = step->flags == WHEN_ALWAYS ? 0 : self.registers[step->reg];
	switch (step->flags) {
	case WHEN_NEGATIVE:
		return value < 0;
	case WHEN_NOT_NEGATIVE:
		return value >= 0;
	case WHEN_ZERO:
		return value == 0;
	case WHEN_NOT_ZERO:
		return value != 0;
	default:
		return 1;
	}
}

static int step_send(const struct step *step)
{
	int fd = step->flags == ENGINE ? self.control : self.channels[step->flags];
	long sent = fd < 0 ? -ENOTCONN
			   : tell(fd, MESSAGE_SENT, (u8)step->number, step->reg == NONE ? 0 : self.registers[step->reg]);
	return failed(sent) ? (int)-sent : 0;
}

static int step_receive(const struct step *step)
{
	int fd = step->flags == ENGINE ? self.control : self.channels[step->flags];
	i64 value = 0;
	int error = fd < 0 ? ENOTCONN : receive(fd, step->flags, (u8)step->number, &value);
	/* How the peer ended says more than that it is gone. */
	if (error == ECONNRESET && step->flags != ENGINE) {
		int status = end_children(step->flags);
		fail_with(error, status < 0 ? 0 : status, 125);
	}
	if (!error)
		set_register(step->result, value);
	return error;
}

static int step_ensure(const struct step *step)
{
	long fd = ensure((int)self.registers[step->reg], (const char *)argument(step, 0), step->flags & 1, (u32)step->args[1]);
	if (failed(fd))
		return (int)-fd;
	set_register(step->result, fd);
	return 0;
}

static int step_decimal(const struct step *step)
{
	char text[21], *into = (char *)argument(step, 0);
	unsigned width = (unsigned)step->args[1], n = print_number(text, self.registers[step->reg]);
	int right = step->flags & 1;
	if (n > width)
		return ERANGE;
	memset(into, right ? ' ' : 0, width);
	memcpy(right ? into + width - n : into, text + 21 - n, n);
	return 0;
}

static int step_send_descriptor(const struct step *step)
{
	struct {
		u64 size;
		int level, type, fd, padding;
	} control = {20, 1 /* SOL_SOCKET */, 1 /* SCM_RIGHTS */, (int)argument(step, 1), 0};
	struct {
		u64 data, size;
	} vector = {argument(step, 2), step->args[3]};
	struct {
		u64 name;
		u32 name_size, padding;
		void *vectors;
		u64 count;
		void *control;
		u64 control_size;
		int flags, padding2;
	} message = {.vectors = &vector, .count = 1, .control = &control, .control_size = sizeof control};
	long sent;
	do
		sent = sys(__NR_sendmsg, argument(step, 0), &message, 0x4000 /* MSG_NOSIGNAL */);
	while (sent == -EINTR);
	return failed(sent) ? (int)-sent : 0;
}

static int step_hook(const struct step *step)
{
	struct hook hook = {(const char *)argument(step, 0), (char *const *)argument(step, 1), (char *const *)argument(step, 2),
			    (const char *)argument(step, 3), step->args[4], step->args[5]};
	int status, error = run_hook(&hook, &status);
	self.listener = step->reg == NONE ? -1 : (int)self.registers[step->reg];
	if (!error && status != 0)
		fail_with(0, status, 125);
	return error;
}

static void __attribute__((noreturn)) step_exec(const struct step *step)
{
	const char *const *candidates = (const char *const *)argument(step, 0);
	long error = -ENOENT;
	/* Nothing between here and execve(2) if it can be helped: the container's seccomp filter may be in force. */
	if (self.blocked)
		set_signal_mask(0);
	for (; *candidates; candidates++) {
		long result = sys(__NR_execve, *candidates, argument(step, 1), argument(step, 2));
		if (result == -EACCES)
			error = result;
		else if (result != -ENOENT && result != -ENOTDIR) {
			error = result;
			break;
		}
	}
	fail_with((int)-error, 0, error == -ENOENT ? 127 : 126);
}

static int step_supervise(const struct step *step)
{
	i64 child = self.registers[step->reg];
	if (child <= 0 || child > 0x7fffffff)
		return EINVAL; /* 0 and -1 would name whole groups of processes. */
	int status = supervise((int)child, step->flags & 1);
	if (step->result != NONE) {
		set_register(step->result, status);
		return 0;
	}
	if (self.control >= 0)
		tell(self.control, MESSAGE_ENDED, (u8)step->number, status);
	part(exit_status(status));
}

static void __attribute__((noreturn)) step_end(const struct step *step)
{
	int status = (int)self.registers[step->reg];
	if (self.control >= 0)
		tell(self.control, MESSAGE_ENDED, (u8)step->number, status);
	if (step->flags & 1)
		leave(exit_status(status));
	part(exit_status(status));
}

static int run_step(const struct step *step)
{
	switch (step->op) {
	case OP_CALL:
		return step_call(step);
	case OP_CLONE:
		return step_clone(step);
	case OP_SEND:
		return step_send(step);
	case OP_RECEIVE:
		return step_receive(step);
	case OP_ENSURE:
		return step_ensure(step);
	case OP_COPY_TREE:
		return (int)-copy_tree((int)argument(step, 0), (int)argument(step, 1));
	case OP_DECIMAL:
		return step_decimal(step);
	case OP_SEND_DESCRIPTOR:
		return step_send_descriptor(step);
	case OP_HOOK:
		return step_hook(step);
	case OP_EXEC:
		step_exec(step);
	case OP_SUPERVISE:
		return step_supervise(step);
	case OP_END:
		step_end(step);
	case OP_EXIT:
		part((int)step->number);
	case OP_LOAD: {
		u64 field = load(step) & step->args[1];
		set_register(step->result, step->number ? field == step->args[2] : (i64)field);
		return 0;
	}
	case OP_EXPECT:
		return (load(step) & step->args[1]) == step->args[2] ? 0 : (int)step->number;
	default:
		return 0;
	}
}

/* Jumps lead forward only and children have higher numbers than their parents, so every program ends. */
static void __attribute__((noreturn)) run_program(u32 program)
{
	const struct program *p = &plan.programs[program];
	self.program = program;
	for (u32 i = 0; i < p->count;) {
		const struct step *step = &plan.steps[p->first + i];
		self.step = i;
		if (step->op == OP_JUMP) {
			i = jumps(step) ? step->number : i + 1;
			continue;
		}
		apply_patches(step);
		int error = run_step(step);
		if (error)
			fail_with(error, 0, 125);
		i++;
	}
	part(0);
}

/* Reads the whole plan into memory of our own, its end at the end of a page with nothing behind it. */
static void read_plan(int fd)
{
	struct stat st;
	long result = sys(__NR_fstat, fd, &st);
	if (failed(result))
		refuse("the plan's descriptor is none", result);
	if (st.st_size <= 0 || (u64)st.st_size > MAX_PLAN || st.st_size % 8 != 0)
		damaged("nothing of this size is a plan:", st.st_size);
	u64 size = (u64)st.st_size, room = (size + PAGE - 1) & ~(PAGE - 1);
	long at = sys(__NR_mmap, 0, room + PAGE, 3 /* PROT_READ|PROT_WRITE */,
		      0x8022 /* MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE */, -1, 0);
	if (failed(at))
		refuse("no memory for the plan", at);
	sys(__NR_mprotect, at + (long)room, PAGE, 0);
	u8 *whole = (u8 *)at + (room - size);
	for (u64 got = 0; got < size; got += (u64)result) {
		result = sys(__NR_pread64, fd, whole + got, size - got, got);
		if (result <= 0)
			refuse("the plan cannot be read", result);
	}
	load_plan(whole, size);
}

/* The registers, and the descriptors: none above those that the plan knows, and no program of the container inherits the control socket. */
static void prepare_self(int plan_fd)
{
	int last = plan_fd;
	for (int i = 0; i < REGISTERS; i++)
		self.registers[i] = -1;
	for (int i = 0; i < MAX_PROGRAMS; i++)
		self.channels[i] = -1;
	self.control = self.parent = self.listener = -1;
	for (u32 i = 0; i < plan.header->inherited.count; i++) {
		const struct inherited *inherited = &plan.inherited[i];
		self.registers[inherited->reg] = inherited->fd;
		if (inherited->fd > last)
			last = inherited->fd;
		if (inherited->reg == CONTROL_REGISTER)
			self.control = inherited->fd;
	}
	close_fd(plan_fd);
	sys(__NR_close_range, (long)last + 1, ~0U, 0);
	if (self.control >= 0 && failed(sys(__NR_fcntl, self.control, F_SETFD, FD_CLOEXEC)))
		damaged("its control socket is no open descriptor:", self.control);
}

/* Ends as the engine says where there will be no plan. */
static void __attribute__((noreturn)) leave_without_plan(int connection, int count, const struct answer *answer)
{
	int status = count >= 0 && answer->type == ANSWER_DONE ? print_answer(connection, answer) : -1;
	if (status < 0) {
		COMPLAIN("the engine ended while it answered");
		leave(1);
	}
	leave(status);
}

/*
 * Waits for the plan, and puts its descriptors in place: plan, the plan's control socket, what the plan inherits behind that one. Behind
 * them all stand the connection, and the plan. Returns the plan's descriptor.
 */
static int receive_plan(int connection)
{
	int descriptors[MAX_DESCRIPTORS];
	struct answer answer;
	int count = receive_answer(connection, &answer, descriptors), control = answer.status;
	if (count < 0 || answer.type != ANSWER_PLAN || !pass_on(connection, 2, answer.errors))
		leave_without_plan(connection, count, &answer);
	if (count < 2 || control < 3 || control > ASIDE - 100 || !is_sealed(descriptors[0])) {
		COMPLAIN("the engine has sent no sealed plan");
		leave(1);
	}
	/* Out of the way of the numbers that they get. */
	for (int i = 0; i < count; i++) {
		long aside = sys(__NR_fcntl, descriptors[i], F_DUPFD_CLOEXEC, ASIDE);
		if (failed(aside))
			refuse("no descriptor is left", aside);
		close_fd(descriptors[i]);
		descriptors[i] = (int)aside;
	}
	for (int i = 1; i < count; i++)
		sys(__NR_dup2, descriptors[i], control + i - 1);
	int connection_fd = control + count - 1, plan_fd = connection_fd + 1;
	sys(__NR_dup3, connection, connection_fd, O_CLOEXEC);
	sys(__NR_dup2, descriptors[0], plan_fd);
	self.connection = connection_fd;
	self.caller = sys(__NR_getpid);
	return plan_fd;
}

/* Makes ready what needs no plan, then waits for it. */
static int become_client(int connection, u64 namespaces)
{
	long error = sys(__NR_fcntl, connection, F_SETFD, FD_CLOEXEC);
	if (failed(error))
		refuse("the connection with the engine is no open descriptor", error);
	error = namespaces ? sys(__NR_unshare, namespaces) : 0;
	if (failed(error)) {
		COMPLAIN("cannot make the namespaces of the container: errno ", NUMBER(-error), errno_name((int)-error));
		leave(1);
	}
	return receive_plan(connection);
}

/* What waits for a child hands signals on instead of dying of them, from the beginning. */
static int supervises(void)
{
	const struct program *p = &plan.programs[0];
	for (u32 i = 0; i < p->count; i++)
		if (plan.steps[p->first + i].op == OP_SUPERVISE)
			return 1;
	return 0;
}

/* Descriptors 0 to 2 must be something, or the next file that is opened becomes the container's stdout. */
static void fill_stdio(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (sys(__NR_fcntl, fd, F_GETFD) == -EBADF && sys(__NR_open, "/dev/null", O_RDWR) != fd)
			leave(125);
}

/* Moves into a sealed copy of this program, unless this is one: the container reaches our file by /proc/PID/exe. */
static void seal_self(char **argv, char **envp)
{
	struct stat st;
	long exe = sys(__NR_open, "/proc/self/exe", O_RDONLY | O_CLOEXEC), result;
	if (failed(exe))
		refuse("cannot find myself in /proc", exe);
	result = sys(__NR_fcntl, exe, F_GET_SEALS);
	if (!failed(result) && (result & F_SEAL_WRITE)) {
		close_fd((int)exe);
		return;
	}
	long copy = sys(__NR_memfd_create, "tvmm-launcher", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (copy == -EINVAL) /* Before Linux 6.3 there is no MFD_EXEC: all of them are executable. */
		copy = sys(__NR_memfd_create, "tvmm-launcher", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (failed(copy))
		refuse("cannot make a sealed copy of myself", copy);
	result = sys(__NR_fstat, exe, &st);
	for (i64 left = st.st_size; !failed(result) && left > 0; left -= result)
		if ((result = sys(__NR_sendfile, copy, exe, NULL, left)) == 0)
			result = -EIO;
	if (!failed(result))
		result = sys(__NR_fcntl, copy, F_ADD_SEALS, SEALS);
	if (!failed(result))
		result = sys(__NR_execveat, copy, "", argv, envp, AT_EMPTY_PATH);
	refuse("cannot run from a sealed copy of myself", result);
}

__attribute__((used)) void launcher_main(long *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1), **envp = argv + argc + 1;
	int dashes = argc >= 4 && equal(argv[2], "--");
	if (argc >= 3 && equal(argv[1], "--init"))
		be_init(argv + 2 + dashes, envp);
	if (argc == 2 && equal(argv[1], "--pause"))
		pause_until_told();
	if (argc == 3 && equal(argv[1], "--check")) {
		read_plan((int)parse_number(argv[2]));
		leave(0);
	}
	int client = argc == 4 && equal(argv[1], "--client") && parse_number(argv[2]) >= 0;
	if ((argc != 2 && !client) || parse_number(argv[argc - 1]) < 0) {
		COMPLAIN("usage: launcher FD | --check FD | --init COMMAND... | --pause");
		leave(125);
	}
	fill_stdio();
	seal_self(argv, envp);
	sys(__NR_prctl, PR_SET_NAME, "tvmm-launcher");
	self.connection = -1;
	int plan_fd = client ? become_client((int)parse_number(argv[2]), (u64)parse_number(argv[3])) : (int)parse_number(argv[1]);
	read_plan(plan_fd);
	prepare_self(plan_fd);
	prepare_signals(supervises());
	run_program(0);
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall launcher_main\n");
