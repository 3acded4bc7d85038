/*
 * Who attaches: frames to and from the clients of DIR/minder.sock. A client that breaks the rules is dropped.
 */
#pragma once
#include "times.h"

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
