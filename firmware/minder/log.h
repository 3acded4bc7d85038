/*
 * The container's output as a log: one JSON object a line, as docker's json-file has it; files that are full make place for new ones.
 */
#pragma once
#include "state.h"

struct line {
  char bytes[MAX_LINE];
  size_t used;
};

static struct line lines[2];
static int log_fd = -1, log_files = 1;
static long long log_limit, log_size;

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
