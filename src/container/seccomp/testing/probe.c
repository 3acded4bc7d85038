/*
 * Installs a filter as seccomp(2) takes it and makes calls under it, for tests.
 *   probe FILTER FLAGS < LINES      one line a call: ABI NR A0 A1 A2; ABI is 64 (also x32, by its bit) or 32 (int 0x80).
 * Prints a line for each: "ok" (the call was let through), "errno N" or "signal N". Each call has a process of its own.
 * With NEW_LISTENER in FLAGS a second thread answers every notification with errno 123.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sock_filter filter[4096];
static volatile int listener = -1;

static void *answer(void *unused)
{
	struct seccomp_notif request;
	struct seccomp_notif_resp response;

	while (listener < 0)
		usleep(1000);
	for (;;) {
		memset(&request, 0, sizeof request);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request))
			return unused;
		memset(&response, 0, sizeof response);
		response.id = request.id;
		response.error = -123;
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
	}
}

static long call(int abi, unsigned long nr, const unsigned long *a)
{
	long result;

	if (abi == 32)
		__asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a[0]), "c"(a[1]), "d"(a[2]) : "memory", "r8", "r9", "r10", "r11");
	else
		__asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]) : "memory", "rcx", "r11");
	return result;
}

int main(int argc, char **argv)
{
	struct sock_fprog program = { .filter = filter };
	unsigned long nr, a[3];
	unsigned flags;
	int abi, status;
	FILE *file;

	if (argc != 3 || !(file = fopen(argv[1], "r")))
		return 2;
	flags = strtoul(argv[2], NULL, 0);
	program.len = fread(filter, sizeof *filter, 4096, file);
	while (scanf("%d %lu %lu %lu %lu", &abi, &nr, &a[0], &a[1], &a[2]) == 5) {
		pid_t child = fork();

		if (child == 0) {
			struct rlimit none = { 0, 0 };
			pthread_t thread;
			long result;

			setrlimit(RLIMIT_CORE, &none);
			if (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
				pthread_create(&thread, NULL, answer, NULL);
			prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
			result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
			if (result < 0)
				_exit(255);
			if (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
				listener = result;
			result = call(abi, nr, a);
			_exit(result < 0 && result > -255 ? -result : 0);
		}
		waitpid(child, &status, 0);
		if (WIFSIGNALED(status))
			printf("signal %d\n", WTERMSIG(status));
		else if (WEXITSTATUS(status) == 255)
			printf("refused\n");
		else if (WEXITSTATUS(status))
			printf("errno %d\n", WEXITSTATUS(status));
		else
			printf("ok\n");
		fflush(stdout);
	}
	return 0;
}
