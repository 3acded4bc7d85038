/*
 * Runs an OCI hook: a program that gets the container's state on stdin and must end with status 0 in time. What it prints is kept, the end
 * of it, for the error; it has no other descriptor of the launcher's.
 */
#pragma once
#include "report.h"

struct hook {
	const char *path;
	char *const *argv, *const *environment;
	const char *input;
	u64 input_length, seconds;
};

static void keep_output(const char *text, u32 n)
{
	if (n > sizeof self.output) {
		text += n - sizeof self.output;
		n = sizeof self.output;
	}
	u32 over = self.output_length + n > sizeof self.output ? self.output_length + n - (u32)sizeof self.output : 0;
	memcpy(self.output, self.output + over, self.output_length - over);
	memcpy(self.output + self.output_length - over, text, n);
	self.output_length += n - over;
}

static void __attribute__((noreturn)) become_hook(const struct hook *hook, int input, int output, int error_pipe)
{
	int error = 0;
	if (failed(sys(__NR_dup2, input, 0)) || failed(sys(__NR_dup2, output, 1)) || failed(sys(__NR_dup2, output, 2)))
		leave(127);
	sys(__NR_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
	set_handler(SIGPIPE, 0);
	set_signal_mask(0);
	error = (int)-sys(__NR_execve, hook->path, hook->argv, hook->environment);
	sys(__NR_write, error_pipe, &error, sizeof error);
	leave(127);
}

/* Feeds and reads the hook until it ends or its time is up. Returns an errno or 0. */
static int attend(const struct hook *hook, int pidfd, int input, int output)
{
	i64 deadline = hook->seconds ? now_ms() + (i64)hook->seconds * 1000 : -1;
	u64 given = 0;
	int error = 0;
	char text[512];
	for (;;) {
		i64 left = deadline < 0 ? -1 : deadline - now_ms();
		if (deadline >= 0 && left <= 0) {
			error = ETIMEDOUT;
			break;
		}
		if (given == hook->input_length) {
			close_fd(input);
			input = -1;
		}
		struct pollfd fds[3] = {{pidfd, POLLIN, 0}, {output, POLLIN, 0}, {input, POLLOUT, 0}};
		long ready = sys(__NR_poll, fds, 3, left > 1000000 ? 1000000 : left);
		if (failed(ready) && ready != -EINTR) {
			error = (int)-ready;
			break;
		}
		if (fds[2].revents) {
			long n = sys(__NR_write, input, hook->input + given, hook->input_length - given);
			if (n > 0)
				given += (u64)n;
			else if (n != -EAGAIN && n != -EINTR)
				given = hook->input_length; /* It does not want to know. */
		}
		if (fds[1].revents) {
			long n = sys(__NR_read, output, text, sizeof text);
			if (n > 0) {
				keep_output(text, (u32)n);
				continue; /* All that it printed before it ended. */
			}
			if (n == 0)
				output = -1; /* The caller closes it. */
		}
		if (fds[0].revents)
			break;
	}
	close_fd(input);
	return error;
}

/* @return 0, or an errno; `status` is the wait status of a hook that ended otherwise than with 0, and the errno is 0 then */
static int run_hook(const struct hook *hook, int *status)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, errors[2] = {-1, -1}, error = 0, exec_error = 0;
	long pidfd, pid;
	*status = 0;
	set_handler(SIGPIPE, 1 /* SIG_IGN */);
	self.output_length = 0;
	if (failed(sys(__NR_pipe2, in, O_CLOEXEC)) || failed(sys(__NR_pipe2, out, O_CLOEXEC)) ||
	    failed(sys(__NR_pipe2, errors, O_CLOEXEC))) {
		error = EMFILE;
		goto done;
	}
	pid = sys(__NR_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		become_hook(hook, in[0], out[1], errors[1]);
	if (failed(pid)) {
		error = (int)-pid;
		goto done;
	}
	close_fd(in[0]);
	close_fd(out[1]);
	close_fd(errors[1]);
	in[0] = out[1] = errors[1] = -1;
	pidfd = sys(__NR_pidfd_open, pid, 0);
	sys(__NR_fcntl, in[1], F_SETFL, O_WRONLY | O_NONBLOCK);
	sys(__NR_fcntl, out[0], F_SETFL, O_RDONLY | O_NONBLOCK);
	error = failed(pidfd) ? (int)-pidfd : attend(hook, (int)pidfd, in[1], out[0]);
	in[1] = -1;
	if (error)
		sys(__NR_kill, pid, SIGKILL);
	wait_for((int)pid, status, 0);
	if (!failed(pidfd))
		close_fd((int)pidfd);
	if (sys(__NR_read, errors[0], &exec_error, sizeof exec_error) == sizeof exec_error)
		error = exec_error;
done:
	set_handler(SIGPIPE, 0);
	for (int i = 0; i < 2; i++) {
		close_fd(in[i]);
		close_fd(out[i]);
		close_fd(errors[i]);
	}
	return error;
}
