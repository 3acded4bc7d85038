/*
 * The container's stdin, stdout and stderr: named FIFOs, or the pty that its launch sends.
 */
#pragma once
#include "clients.h"
#include "log.h"

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
