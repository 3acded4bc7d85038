/*
 * The little init of `--init` and the process that holds a pod's namespaces. As process 1 it starts the program, passes signals on to it and
 * reaps every orphan; it ends as the program did (128 + n for signal n). With `--pause` there is no program: it stays until SIGTERM or
 * SIGINT. Bound into the container, so it must need nothing there. @static
 *
 *     container-init -- PROGRAM [argument…]
 *     container-init --pause
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Signals that tell of this process itself, not of what it should hand on. */
static const int OWN[] = {SIGCHLD, SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU};

static int fail(const char *what) {
  dprintf(2, "tvmm-init: %s: %s\n", what, strerror(errno));
  return errno == ENOENT ? 127 : 126;
}

/* @returns the program's exit status, or -1 while it runs */
static int reap(pid_t program) {
  int result = -1, status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
    if (pid == program) result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

int main(int argc, char **argv) {
  int pause_only = argc == 2 && strcmp(argv[1], "--pause") == 0;
  if (!pause_only && (argc < 3 || strcmp(argv[1], "--") != 0)) {
    dprintf(2, "usage: container-init -- PROGRAM [argument…]\n");
    return 125;
  }
  sigset_t all, before;
  sigfillset(&all);
  for (size_t i = 1; i < sizeof OWN / sizeof *OWN; i++) sigdelset(&all, OWN[i]);
  sigprocmask(SIG_SETMASK, &all, &before);
  signal(SIGTTIN, SIG_IGN);
  signal(SIGTTOU, SIG_IGN);

  pid_t program = -1;
  if (!pause_only) {
    program = fork();
    if (program < 0) return fail("fork");
    if (program == 0) {
      /* A group of its own in the foreground: Ctrl-C reaches it once, from the terminal, and not once more through us. */
      setpgid(0, 0);
      tcsetpgrp(0, getpid());
      signal(SIGTTIN, SIG_DFL);
      signal(SIGTTOU, SIG_DFL);
      sigprocmask(SIG_SETMASK, &before, NULL);
      execvp(argv[2], argv + 2);
      return fail(argv[2]);
    }
  }
  for (;;) {
    int signal_number;
    if (sigwait(&all, &signal_number) != 0) continue;
    if (signal_number == SIGCHLD) {
      int status = reap(program);
      if (status >= 0) return status;
    } else if (pause_only) {
      if (signal_number == SIGTERM || signal_number == SIGINT) return 0;
    } else kill(program, signal_number);
  }
}
