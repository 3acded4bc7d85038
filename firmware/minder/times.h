/*
 * What is due when: the health checks, by the exit command's "health", which are killed for taking too long; and the end of --life.
 */
#pragma once
#include "state.h"

/* In milliseconds: the options, when the container was made, the next one is due and the one that runs began. */
static long long check_interval, check_start_interval, check_start_period, check_limit;
static long long check_born, check_due, check_began;
/* --life, and when it is over. */
static long long life, life_end;
static pid_t check_pid;
static int check_good;

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
