/*
 * Runs a command and measures the wall time from just before its start to the first line of its output that begins with MARK.
 *
 *     first-line MARK COMMAND [ARGUMENT...]
 *
 * Prints "MILLISECONDS LINE" and waits for the command's end. Small, so that it takes nothing from a machine under emulation.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
	int ends[2];
	if (argc < 3 || pipe(ends) != 0) {
		fprintf(stderr, "usage: first-line MARK COMMAND [ARGUMENT...]\n");
		return 125;
	}
	double start = now_ms();
	pid_t child = fork();
	if (child == 0) {
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	close(ends[1]);
	FILE *output = fdopen(ends[0], "r");
	char line[4096];
	int found = 0;
	while (fgets(line, sizeof line, output) != NULL) {
		if (found || strncmp(line, argv[1], strlen(argv[1])) != 0)
			continue;
		printf("%.1f %s", now_ms() - start, line);
		fflush(stdout);
		found = 1;
	}
	int status = 0;
	waitpid(child, &status, 0);
	return found ? 0 : 1;
}
