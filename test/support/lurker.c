/*
 * Lies in wait inside of a container for processes that enter it: stops each the moment it shows in the pid namespace, takes down what whoever
 * may trace it could take from it, and lets it go on. One line a finding, `WHAT VALUE`.
 *
 *     lurker       do so until it is killed
 *     lurker 1     look at process 1
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void tell_link(int pid, const char *what, const char *file)
{
	char path[64], target[4096];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
	ssize_t n = readlink(path, target, sizeof target - 1);
	if (n > 0)
		printf("%s %.*s\n", what, (int)n, target);
}

/* Whether a folder is on a file system that this process reaches anyway. */
static int is_ours(int folder)
{
	static const char *const places[] = {"/", "/proc", "/dev", "/dev/pts", "/sys"};
	struct stat there, here;
	if (fstat(folder, &there) != 0)
		return 0;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		if (stat(places[i], &here) == 0 && here.st_dev == there.st_dev)
			return 1;
	return 0;
}

static int entered(int pid)
{
	char path[64], target[64];
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	ssize_t n = readlink(path, target, sizeof target - 1);
	return n > 7 && memcmp(target, "/memfd:", 7) == 0;
}

static void tell_status(int pid)
{
	char path[64], line[256];
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file))
		if (strncmp(line, "CapPrm:", 7) == 0 || strncmp(line, "CapBnd:", 7) == 0)
			printf("%.6s %s", line, line + 8);
	if (file)
		fclose(file);
}

static void look(int pid)
{
	char path[64], inner[64];
	if (!entered(pid))
		return;
	printf("entered %d\n", pid);
	tell_status(pid);
	tell_link(pid, "root", "root");
	tell_link(pid, "cwd", "cwd");
	tell_link(pid, "exe", "exe");
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	int exe = open(path, O_WRONLY);
	printf("exe-writable %s\n", exe >= 0 ? "yes" : "no");
	if (exe >= 0)
		close(exe);
	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	DIR *folder = opendir(path);
	if (!folder)
		printf("closed %s\n", strerror(errno));
	for (struct dirent *one; folder && (one = readdir(folder));) {
		if (one->d_name[0] == '.')
			continue;
		snprintf(inner, sizeof inner, "fd/%.20s", one->d_name);
		tell_link(pid, "fd", inner);
		/* A folder of the host's leads to all of it. */
		snprintf(path, sizeof path, "/proc/%d/fd/%.20s/.", pid, one->d_name);
		int way = open(path, O_PATH | O_DIRECTORY);
		if (way >= 0) {
			printf("%s %s\n", is_ours(way) ? "stays" : "leads", one->d_name);
			close(way);
		}
	}
	if (folder)
		closedir(folder);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (argc > 1) {
		look(atoi(argv[1]));
		return 0;
	}
	printf("waits\n");
	fflush(stdout);
	for (int next = getpid() + 1;;)
		for (int pid = next; pid < next + 32; pid++) {
			if (kill(pid, SIGSTOP) != 0)
				continue;
			look(pid);
			kill(pid, SIGCONT);
			fflush(stdout);
			next = pid + 1;
			break;
		}
}
