/*
 * What all parts of the minder share: the frames of its socket, its limits, and what it knows of the container.
 */
#pragma once
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

static struct client clients[MAX_CLIENTS];
static struct buffer input;
static int stdin_fd = -1, stdin_ends, master = -1, console_listener = -1, listener = -1;
static int output[2] = {-1, -1};
static int want_tty, want_stdin, want_log, want_transient;
static pid_t init_pid;
static int init_ended, init_status = -1;
/* What the minder does not react to and what it starts must. */
static const int forgotten[] = {SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
/* Where the process that stands in for the launcher waits for its status. */
static int report_fd = -1;
static char *exit_words[MAX_EXIT_WORDS + 1];
static int exit_count;

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

static long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}
