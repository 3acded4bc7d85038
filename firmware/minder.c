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
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Frames; src/container/engine/frames.ts has the same table. */
enum {
  FRAME_STDIN = 1,      /* bytes for stdin */
  FRAME_STDIN_END = 2,  /* no more stdin */
  FRAME_RESIZE = 3,     /* rows, columns: 2 bytes each */
  FRAME_PID = 4,        /* init's pid: 4 bytes */
  FRAME_SUBSCRIBE = 5,  /* 1 byte: bit 0 stdout, bit 1 stderr, bit 2: stdin ends with this client, bit 3: it cleans up after the end */
  FRAME_DONE = 6,       /* it has cleaned up: nothing is left for the exit command */
  FRAME_STDOUT = 11,
  FRAME_STDERR = 12,
  FRAME_END = 13,       /* wait status, 4 bytes; -1 when it is not known */
  FRAME_OK = 14,        /* answer to FRAME_PID and FRAME_SUBSCRIBE: the minder's pid, 4 bytes */
};

enum {
  MAX_CLIENTS = 64,
  MAX_FRAME = 64 * 1024,
  MAX_LINE = 16 * 1024,
  /* While a client or stdin has more than this waiting, what feeds it is not read. */
  HIGH_WATER = 256 * 1024,
  MAX_EXIT_WORDS = 32,
  LAST_WORDS_MS = 5000,
  CLEAN_UP_MS = 60000,
};

struct buffer {
  char *bytes;
  size_t used, size;
};

struct client {
  int fd;
  int streams;
  int leaving;
  struct buffer in, out;
};

struct line {
  char bytes[MAX_LINE];
  size_t used;
};

static struct client clients[MAX_CLIENTS];
static struct line lines[2];
static struct buffer input;
static int stdin_fd = -1, stdin_ends, master = -1, console_listener = -1, listener = -1;
static int output[2] = {-1, -1};
static int want_tty, want_stdin, want_log, log_fd = -1, log_files = 1;
static long long log_limit, log_size;
static pid_t init_pid;
static int init_ended, init_status = -1;
/* What the minder does not react to and what it starts must. */
static const int forgotten[] = {SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
/* Where the process that stands in for the launcher waits for its status. */
static int report_fd = -1;
static char *exit_words[MAX_EXIT_WORDS + 1];
static int exit_count;
/* Health checks, in milliseconds: the options, when the container was made, the next one is due and the one that runs began. */
static long long check_interval, check_start_interval, check_start_period, check_limit;
static long long check_born, check_due, check_began;
/* --life, and when it is over. */
static long long life, life_end;
static pid_t check_pid;
static int check_good;

static void die(const char *what) {
  dprintf(2, "minder: %s: %s\n", what, strerror(errno));
  _exit(125);
}

static void append(struct buffer *b, const void *bytes, size_t length) {
  if (b->used + length > b->size) {
    size_t size = (b->used + length) * 2;
    char *grown = realloc(b->bytes, size);
    if (grown == NULL) die("memory");
    b->bytes = grown;
    b->size = size;
  }
  memcpy(b->bytes + b->used, bytes, length);
  b->used += length;
}

static void consume(struct buffer *b, size_t length) {
  memmove(b->bytes, b->bytes + length, b->used - length);
  b->used -= length;
  if (b->used == 0) {
    free(b->bytes);
    *b = (struct buffer){0};
  }
}

/* ---- log: one JSON object a line, as docker's json-file ---- */

static void open_log(int truncate) {
  log_fd = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | (truncate ? O_TRUNC : 0), 0600);
  struct stat st;
  log_size = log_fd >= 0 && fstat(log_fd, &st) == 0 ? st.st_size : 0;
}

static void rotate_log(void) {
  close(log_fd);
  for (int i = log_files - 1; i > 0; i--) {
    char from[32], to[32];
    snprintf(from, sizeof from, i == 1 ? "log" : "log.%d", i - 1);
    snprintf(to, sizeof to, "log.%d", i);
    rename(from, to);
  }
  open_log(log_files == 1);
}

/* Length of the UTF-8 sequence at p, 0 when it is none (RFC 3629). */
static int utf8(const unsigned char *p, size_t left) {
  if (p[0] < 0x80) return 1;
  int length = p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
  if (length == 0 || (size_t)length > left) return 0;
  for (int i = 1; i < length; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) ||
      (p[0] == 0xf4 && p[1] >= 0x90))
    return 0;
  return length;
}

/* A disk that is full costs log lines, never the container. */
static void write_line(int stream, const char *bytes, size_t length) {
  if (log_fd < 0 || length == 0) return;
  static char text[MAX_LINE * 6 + 128];
  size_t n = sprintf(text, "{\"log\":\"");
  for (size_t i = 0; i < length;) {
    unsigned char c = bytes[i];
    int wide = utf8((const unsigned char *)bytes + i, length - i);
    if (c == '"' || c == '\\') n += sprintf(text + n, "\\%c", c);
    else if (c == '\n') n += sprintf(text + n, "\\n");
    else if (c == '\r') n += sprintf(text + n, "\\r");
    else if (c == '\t') n += sprintf(text + n, "\\t");
    else if (c < 0x20 || c == 0x7f) n += sprintf(text + n, "\\u%04x", c);
    else if (wide == 0) n += sprintf(text + n, "\\ufffd");
    else {
      memcpy(text + n, bytes + i, wide);
      n += wide;
    }
    i += wide == 0 ? 1 : wide;
  }
  struct timespec now;
  struct tm tm;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &tm);
  n += sprintf(text + n, "\",\"stream\":\"%s\",\"time\":\"", stream == 0 ? "stdout" : "stderr");
  n += strftime(text + n, 32, "%Y-%m-%dT%H:%M:%S", &tm);
  n += sprintf(text + n, ".%09ldZ\"}\n", now.tv_nsec);
  if (log_limit > 0 && log_size > 0 && log_size + (long long)n > log_limit) rotate_log();
  ssize_t wrote = write(log_fd, text, n);
  if (wrote > 0) log_size += wrote;
}

static void log_output(int stream, const char *bytes, size_t length) {
  struct line *l = &lines[stream];
  while (length > 0) {
    const char *newline = memchr(bytes, '\n', length);
    size_t part = newline == NULL ? length : (size_t)(newline - bytes) + 1;
    if (part > MAX_LINE - l->used) {
      part = MAX_LINE - l->used;
      newline = NULL;
    }
    memcpy(l->bytes + l->used, bytes, part);
    l->used += part;
    bytes += part;
    length -= part;
    if (newline != NULL || l->used == MAX_LINE) {
      write_line(stream, l->bytes, l->used);
      l->used = 0;
    }
  }
}

static long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* ---- health checks ---- */

static void plan_check(void) {
  int starting = !check_good && now_ms() - check_born < check_start_period && check_start_interval < check_interval;
  check_due = now_ms() + (starting ? check_start_interval : check_interval);
}

static void start_check(void) {
  char *words[MAX_EXIT_WORDS + 2];
  memcpy(words, exit_words, sizeof exit_words[0] * exit_count);
  words[exit_count] = "health";
  words[exit_count + 1] = NULL;
  check_began = now_ms();
  check_pid = fork();
  if (check_pid < 0) {
    check_pid = 0;
    plan_check();
  }
  if (check_pid != 0) return;
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (int i = 0; i < (int)(sizeof forgotten / sizeof forgotten[0]); i++) signal(forgotten[i], SIG_DFL);
  execv(words[0], words);
  die(words[0]);
}

static int wait_until(long long time) {
  long long left = time - now_ms();
  return left <= 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
}

/* Starts what is due and kills what takes too long. @returns how long poll(2) may wait, -1 for ever */
static int check_times(void) {
  if (init_pid == 0) return -1;
  long long now = now_ms();
  if (life > 0 && now >= life_end) {
    kill(init_pid, SIGKILL);
    life = 0;
  }
  int over = life > 0 ? wait_until(life_end) : -1;
  if (check_interval <= 0 || exit_count == 0) return over;
  if (check_pid == 0 && now >= check_due) start_check();
  if (check_pid != 0 && now - check_began >= check_limit) {
    kill(-check_pid, SIGKILL);
    check_began = now;
  }
  long long at = check_pid != 0 ? check_began + check_limit : check_due;
  int next = wait_until(at);
  return over >= 0 && over < next ? over : next;
}

static void end_check(void) {
  if (check_pid == 0) return;
  kill(-check_pid, SIGKILL);
  while (waitpid(check_pid, NULL, 0) < 0 && errno == EINTR) continue;
}

/* ---- clients ---- */

static void drop(struct client *c) {
  close(c->fd);
  if ((c->streams & 4) != 0 && !want_tty) stdin_ends = 1;
  free(c->in.bytes);
  free(c->out.bytes);
  *c = (struct client){.fd = -1};
}

static void frame(struct client *c, int type, const void *payload, uint32_t length) {
  unsigned char header[5] = {type, length, length >> 8, length >> 16, length >> 24};
  append(&c->out, header, 5);
  append(&c->out, payload, length);
}

static void flush(struct client *c) {
  while (c->out.used > 0) {
    ssize_t n = send(c->fd, c->out.bytes, c->out.used, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      drop(c);
      return;
    }
    consume(&c->out, n);
  }
}

static void spread(int stream, const char *bytes, size_t length) {
  for (int i = 0; i < MAX_CLIENTS; i++) {
    struct client *c = &clients[i];
    if (c->fd < 0 || (c->streams & (1 << stream)) == 0) continue;
    frame(c, stream == 0 ? FRAME_STDOUT : FRAME_STDERR, bytes, length);
    flush(c);
  }
}

static void tell_end(struct client *c) {
  int32_t status = init_status;
  frame(c, FRAME_END, &status, 4);
}

static void say_ok(struct client *c) {
  int32_t pid = getpid();
  frame(c, FRAME_OK, &pid, 4);
}

static void handle(struct client *c, int type, const unsigned char *payload, size_t length) {
  if (type == FRAME_STDIN && !stdin_ends) {
    if (stdin_fd >= 0 || master >= 0) append(&input, payload, length);
  } else if (type == FRAME_STDIN_END) {
    /* The end of a terminal's input is a character that the client sends; closing the pty would hang up. */
    if (!want_tty) stdin_ends = 1;
  } else if (type == FRAME_RESIZE && length == 4 && master >= 0) {
    struct winsize size = {.ws_row = payload[0] | payload[1] << 8, .ws_col = payload[2] | payload[3] << 8};
    ioctl(master, TIOCSWINSZ, &size);
  } else if (type == FRAME_PID && length == 4) {
    if (init_pid == 0) {
      memcpy(&init_pid, payload, 4);
      check_born = now_ms();
      life_end = check_born + life;
      plan_check();
    }
    say_ok(c);
  } else if (type == FRAME_SUBSCRIBE && length == 1) {
    c->streams = payload[0] & 15;
    say_ok(c);
  }
}

static void receive(struct client *c) {
  char bytes[MAX_FRAME];
  ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    drop(c);
    return;
  }
  append(&c->in, bytes, n);
  while (c->in.used >= 5) {
    unsigned char *p = (unsigned char *)c->in.bytes;
    uint32_t length = p[1] | p[2] << 8 | p[3] << 16 | (uint32_t)p[4] << 24;
    if (length > MAX_FRAME) {
      drop(c);
      return;
    }
    if (c->in.used < 5 + (size_t)length) break;
    handle(c, p[0], p + 5, length);
    consume(&c->in, 5 + length);
  }
  flush(c);
}

static void welcome(void) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  for (int i = 0; i < MAX_CLIENTS; i++) {
    if (clients[i].fd >= 0) continue;
    clients[i].fd = fd;
    return;
  }
  close(fd);
}

/* ---- stdin, stdout, stderr ---- */

static void pump(int stream, int *fd) {
  char bytes[32 * 1024];
  ssize_t n = read(*fd, bytes, sizeof bytes);
  if (n > 0) {
    if (want_log) log_output(stream, bytes, n);
    spread(stream, bytes, n);
  } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
    /* EIO: the last holder of the pty's other side is gone. It may be opened again while init lives, so the master stays. */
    if (fd == &master && !init_ended) {
      usleep(10000);
      return;
    }
    close(*fd);
    *fd = -1;
  }
}

static void feed(void) {
  int fd = want_tty ? master : stdin_fd;
  while (fd >= 0 && input.used > 0) {
    ssize_t n = write(fd, input.bytes, input.used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      consume(&input, input.used);
      if (!want_tty) stdin_ends = 1;
      break;
    }
    consume(&input, n);
  }
  if (stdin_ends && input.used == 0 && stdin_fd >= 0) {
    close(stdin_fd);
    stdin_fd = -1;
  }
}

static void receive_console(void) {
  int fd = accept4(console_listener, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0) return;
  char byte[4096], control[CMSG_SPACE(sizeof(int))];
  struct iovec iov = {byte, sizeof byte};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  if (c != NULL && c->cmsg_type == SCM_RIGHTS && master < 0) {
    memcpy(&master, CMSG_DATA(c), sizeof master);
    fcntl(master, F_SETFL, O_NONBLOCK);
    close(console_listener);
    console_listener = -1;
    unlink("console.sock");
  }
  close(fd);
}

static int listen_at(const char *name) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, name);
  unlink(name);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 16) != 0) die(name);
  chmod(name, 0600);
  return fd;
}

/* Both ends of a named FIFO: the reading one for us; the other is for the container, which then always has a reader. */
static int open_fifo(const char *name, int *container) {
  if (mkfifo(name, 0600) != 0 && errno != EEXIST) die(name);
  int fd = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) die(name);
  if (container != NULL && (*container = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW)) < 0) die(name);
  return fd;
}

/* ---- the life of the container ---- */

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
  if (fd < 0 || write(fd, text, n) != n || fsync(fd) != 0 || rename("exit.new", "exit.json") != 0)
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
