/*
 * The minder: stands between one container of the engine and everybody else. It starts the launcher, becomes the parent of the container's
 * init (PR_SET_CHILD_SUBREAPER), writes its output into rotating logs, serves who attaches, and when init ends records the wait status and
 * becomes the exit command. A few hundred KB of memory for the life of the container. @static
 *
 *     minder [options] DIR -- LAUNCHER [argument…]
 *     minder [options] --adopt PID DIR
 *
 *     --tty               output comes from the pty that is sent to DIR/console.sock
 *     --stdin             keep a pipe to the container's stdin
 *     --log SIZE FILES    write DIR/log, rotate at SIZE bytes (0: never), keep FILES files
 *     --exit WORD         a word of the exit command (repeated)
 *     --transient         nobody asks how it ended after a power cut: do not wait for the disk
 *     --life MS           kill the container when it has run so long
 *     --check MS START-MS PERIOD-MS LIMIT-MS
 *                         while the container runs, run the exit command with the word "health" behind it, MS after the last time; START-MS
 *                         until PERIOD-MS have gone by or it has ended with 0. It is killed, with its session, after LIMIT-MS and with the container
 *
 * Three processes: the one that was started waits for the launcher and ends with its status, so that it can stand in for the launcher; the
 * minder proper, in a session of its own; the launcher. Output goes through named FIFOs that the container's side holds for reading and
 * writing: a minder that is killed does not take the container with it (no SIGPIPE), and --adopt goes on where it stopped.
 *
 * DIR/minder.sock speaks frames both ways: type (1 byte), length (4, little endian), payload.
 */
#define _GNU_SOURCE
#include "minder/streams.h"

/* The record is whole or not there: a crash leaves no half of it. */
static void record_end(void) {
  struct timespec now;
  struct tm tm;
  char text[256], time[40];
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &tm);
  strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &tm);
  int n = snprintf(text, sizeof text, "{\"pid\":%d,\"status\":%d,\"finished\":\"%s.%03ldZ\"}\n", init_pid, init_status,
                   time, now.tv_nsec / 1000000);
  int fd = open("exit.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0 || write(fd, text, n) != n || (!want_transient && fsync(fd) != 0) || rename("exit.new", "exit.json") != 0)
    dprintf(2, "minder: exit.json: %s\n", strerror(errno));
  if (fd >= 0) close(fd);
}

/*
 * Whether a client that said so has cleaned up: then there is no need to start the exit command, which costs more than all else that the end of
 * a short container does. One that is killed meanwhile closes its connection, one that hangs is not waited for.
 */
static int cleaned_up(struct client *c) {
  long long end = now_ms() + CLEAN_UP_MS;
  for (;;) {
    while (c->in.used >= 5) {
      unsigned char *p = (unsigned char *)c->in.bytes;
      uint32_t length = p[1] | p[2] << 8 | p[3] << 16 | (uint32_t)p[4] << 24;
      if (p[0] == FRAME_DONE) return 1;
      if (length > MAX_FRAME) return 0;
      if (c->in.used < 5 + (size_t)length) break;
      consume(&c->in, 5 + length);
    }
    struct pollfd p = {c->fd, POLLIN, 0};
    long long left = end - now_ms();
    if (left <= 0 || poll(&p, 1, left) <= 0) return 0;
    char bytes[4096];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) return 0;
    append(&c->in, bytes, n);
  }
}

static void finish(void) {
  struct client *keeper = NULL;
  end_check();
  for (int stream = 0; stream < 2; stream++) {
    int *fd = want_tty ? &master : &output[stream];
    if (want_tty && stream == 1) break;
    /* What init left in the pipe. Others may hold it and go on writing (a shared pid namespace): a megabyte is enough. */
    for (int i = 0; i < 32 && *fd >= 0; i++) {
      struct pollfd p = {*fd, POLLIN, 0};
      if (poll(&p, 1, 0) <= 0) break;
      pump(stream, fd);
    }
    write_line(stream, lines[stream].bytes, lines[stream].used);
  }
  record_end();
  long long end = now_ms() + LAST_WORDS_MS;
  for (int i = 0; i < MAX_CLIENTS; i++) {
    struct client *c = &clients[i];
    if (c->fd < 0) continue;
    tell_end(c);
    for (flush(c); c->fd >= 0 && c->out.used > 0 && now_ms() < end; flush(c)) {
      struct pollfd p = {c->fd, POLLOUT, 0};
      poll(&p, 1, 100);
    }
    if (c->fd >= 0 && keeper == NULL && (c->streams & 8) != 0) keeper = c;
    else if (c->fd >= 0) drop(c);
  }
  close(listener);
  unlink("minder.sock");
  unlink("console.sock");
  if (keeper != NULL && cleaned_up(keeper)) _exit(0);
  if (exit_count == 0) _exit(0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execv(exit_words[0], exit_words);
  die(exit_words[0]);
}

/* @returns whether any child is left. What ends and is neither the launcher nor init was init's orphan. */
static int reap(pid_t launcher) {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid == 0) return 1;
    if (pid < 0) return errno != ECHILD;
    if (pid == init_pid) {
      init_ended = 1;
      init_status = status;
    }
    if (pid == check_pid) {
      check_pid = 0;
      if (status == 0) check_good = 1;
      plan_check();
    }
    if (pid == launcher && report_fd >= 0) {
      unsigned char code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      if (write(report_fd, &code, 1) != 1) dprintf(2, "minder: nobody waits for the launcher\n");
      close(report_fd);
      report_fd = -1;
    }
  }
}

static int congested(int stream) {
  for (int i = 0; i < MAX_CLIENTS; i++)
    if (clients[i].fd >= 0 && (clients[i].streams & (1 << stream)) && clients[i].out.used > HIGH_WATER) return 1;
  return 0;
}

static void serve(pid_t launcher, int adopted) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, NULL);
  int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) die("signalfd");
  int children = 1;
  for (;;) {
    struct pollfd p[MAX_CLIENTS + 10];
    int n = 0;
    int at_signals = n, at_listener, at_report = -1, at_console = -1, at_out[2] = {-1, -1}, at_in = -1;
    p[n++] = (struct pollfd){signals, POLLIN, 0};
    at_listener = n;
    p[n++] = (struct pollfd){listener, POLLIN, 0};
    if (report_fd >= 0) at_report = n, p[n++] = (struct pollfd){report_fd, 0, 0};
    int at_adopted = n;
    if (adopted >= 0) p[n++] = (struct pollfd){adopted, POLLIN, 0};
    if (console_listener >= 0) at_console = n, p[n++] = (struct pollfd){console_listener, POLLIN, 0};
    for (int stream = 0; stream < 2; stream++) {
      int fd = want_tty ? (stream == 0 ? master : -1) : output[stream];
      if (fd >= 0 && !congested(stream)) at_out[stream] = n, p[n++] = (struct pollfd){fd, POLLIN, 0};
    }
    int in = want_tty ? master : stdin_fd;
    if (in >= 0 && input.used > 0) at_in = n, p[n++] = (struct pollfd){in, POLLOUT, 0};
    int first = n;
    int who[MAX_CLIENTS];
    for (int i = 0; i < MAX_CLIENTS; i++) {
      if (clients[i].fd < 0) continue;
      short events = (input.used > HIGH_WATER ? 0 : POLLIN) | (clients[i].out.used > 0 ? POLLOUT : 0);
      who[n - first] = i;
      p[n++] = (struct pollfd){clients[i].fd, events, 0};
    }
    if (poll(p, n, check_times()) < 0) {
      if (errno == EINTR) continue;
      die("poll");
    }
    for (int i = first; i < n; i++) {
      struct client *c = &clients[who[i - first]];
      if (p[i].revents & POLLOUT) flush(c);
      if (c->fd >= 0 && p[i].revents & (POLLIN | POLLHUP | POLLERR)) receive(c);
    }
    if (p[at_listener].revents) welcome();
    if (at_console >= 0 && p[at_console].revents) receive_console();
    for (int stream = 0; stream < 2; stream++)
      if (at_out[stream] >= 0 && p[at_out[stream]].revents) pump(stream, want_tty ? &master : &output[stream]);
    if (at_in >= 0 && p[at_in].revents && (want_tty ? master : stdin_fd) >= 0) feed();
    if (stdin_ends) feed();
    if (p[at_signals].revents) {
      struct signalfd_siginfo info;
      while (read(signals, &info, sizeof info) > 0) continue;
    }
    children = reap(launcher) || adopted >= 0;
    if (adopted >= 0 && p[at_adopted].revents) init_ended = 1;
    /* Who waited for the launcher was killed: so is the launch. */
    if (at_report >= 0 && report_fd >= 0 && p[at_report].revents & (POLLERR | POLLHUP)) kill(launcher, SIGKILL);
    if (init_ended) finish();
    if (!children) _exit(0);
  }
}

static void own_session(void) {
  setsid();
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) die("PR_SET_CHILD_SUBREAPER");
  prctl(PR_SET_NAME, "tvmm-minder");
  for (int i = 0; i < (int)(sizeof forgotten / sizeof forgotten[0]); i++) signal(forgotten[i], SIG_IGN);
}

/* Nobody's terminal or pipe is kept open; complaints, and the exit command's, go into DIR/minder.log. */
static void own_descriptors(void) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  int log = open("minder.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log >= 0 ? log : null, 2) < 0) die("/dev/null");
  close(null);
  if (log >= 0) close(log);
}

int main(int argc, char **argv) {
  const char *dir = NULL;
  char **launcher = NULL;
  pid_t adopt = 0;
  for (int i = 1; i < argc; i++) {
    const char *word = argv[i];
    if (strcmp(word, "--tty") == 0) want_tty = 1;
    else if (strcmp(word, "--stdin") == 0) want_stdin = 1;
    else if (strcmp(word, "--log") == 0 && i + 2 < argc) {
      want_log = 1;
      log_limit = atoll(argv[++i]);
      log_files = atoi(argv[++i]);
    } else if (strcmp(word, "--exit") == 0 && i + 1 < argc && exit_count < MAX_EXIT_WORDS) exit_words[exit_count++] = argv[++i];
    else if (strcmp(word, "--transient") == 0) want_transient = 1;
    else if (strcmp(word, "--life") == 0 && i + 1 < argc) life = atoll(argv[++i]);
    else if (strcmp(word, "--check") == 0 && i + 4 < argc) {
      check_interval = atoll(argv[++i]);
      check_start_interval = atoll(argv[++i]);
      check_start_period = atoll(argv[++i]);
      check_limit = atoll(argv[++i]);
    } else if (strcmp(word, "--adopt") == 0 && i + 1 < argc) adopt = atoi(argv[++i]);
    else if (strcmp(word, "--") == 0) {
      launcher = argv + i + 1;
      break;
    } else dir = word;
  }
  if (dir == NULL || (adopt == 0 && (launcher == NULL || launcher[0] == NULL))) {
    dprintf(2, "usage: minder [options] DIR -- LAUNCHER [argument…]\n");
    return 125;
  }
  for (int i = 0; i < MAX_CLIENTS; i++) clients[i].fd = -1;
  if (log_files < 1) log_files = 1;

  int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (chdir(dir) != 0) die(dir);
  int container[3] = {-1, -1, -1};
  listener = listen_at("minder.sock");
  if (want_log) open_log(0);
  if (want_tty) {
    if (adopt == 0) console_listener = listen_at("console.sock");
  } else {
    output[0] = open_fifo("stdout", adopt == 0 ? &container[1] : NULL);
    output[1] = open_fifo("stderr", adopt == 0 ? &container[2] : NULL);
    if (adopt == 0 && want_stdin) {
      int fds[2];
      if (pipe2(fds, O_CLOEXEC) != 0) die("pipe");
      container[0] = fds[0];
      stdin_fd = fds[1];
      fcntl(stdin_fd, F_SETFL, O_NONBLOCK);
    }
  }

  if (adopt != 0) {
    if (fork() != 0) _exit(0);
    own_session();
    own_descriptors();
    init_pid = adopt;
    check_born = now_ms() - check_start_period;
    life_end = now_ms() + life;
    plan_check();
    int pidfd = syscall(SYS_pidfd_open, adopt, 0);
    if (pidfd < 0) {
      init_ended = 1;
      finish();
    }
    fcntl(pidfd, F_SETFD, FD_CLOEXEC);
    serve(0, pidfd);
  }

  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) die("pipe");
  pid_t proper = fork();
  if (proper < 0) die("fork");
  if (proper != 0) {
    /* Stands in for the launcher. Everything else must be closed here, or nobody would see the launcher's ends close. */
    unsigned char code = 125;
    for (int fd = 3; fd < 1024; fd++)
      if (fd != report[0]) close(fd);
    while (read(report[0], &code, 1) < 0 && errno == EINTR) continue;
    _exit(code);
  }
  own_session();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, NULL);
  pid_t started = fork();
  if (started < 0) die("fork");
  if (started == 0) {
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    for (int i = 0; i < (int)(sizeof forgotten / sizeof forgotten[0]); i++) signal(forgotten[i], SIG_DFL);
    if (here >= 0 && fchdir(here) != 0) die("fchdir");
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
      if (dup2(container[i] >= 0 ? container[i] : null, i) < 0) die("dup2");
    execv(launcher[0], launcher);
    die(launcher[0]);
  }
  /* Ours are marked close-on-exec; what is not was handed over for the launcher. */
  for (int fd = 3; fd < 1024; fd++) {
    int flags = fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) close(fd);
  }
  for (int i = 0; i < 3; i++)
    if (container[i] >= 0) close(container[i]);
  close(report[0]);
  if (here >= 0) close(here);
  report_fd = report[1];
  own_descriptors();
  serve(started, -1);
}
