/*
 * The launcher's view of the kernel: raw system calls for x86-64, the few structures that the kernel's headers do not give without libc,
 * and the handful of string functions that are left. Calls return what the kernel returns: a result, or minus an errno.
 */
#pragma once
#include <asm/errno.h>
#include <asm/signal.h>
#include <asm/stat.h>
#include <asm/unistd.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/openat2.h>
#include <linux/poll.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <linux/time.h>
#include <linux/wait.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#define PAGE 4096UL

static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#define SYS_(n, a, b, c, d, e, f, ...) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define sys(...) SYS_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

static inline int failed(long result)
{
	return result < 0 && result >= -4095;
}

/* gcc may ask for these whatever the flags. */
void *memcpy(void *to, const void *from, size_t n)
{
	u8 *t = to;
	const u8 *f = from;
	while (n--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int value, size_t n)
{
	u8 *t = to;
	while (n--)
		*t++ = (u8)value;
	return to;
}

static size_t length(const char *text)
{
	size_t n = 0;
	while (text[n])
		n++;
	return n;
}

static inline int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* A number of decimal digits and nothing else; -1 for all other texts. */
static inline i64 parse_number(const char *text)
{
	i64 value = 0;
	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (*text - '0');
		if (value > 0x7fffffff)
			return -1;
	}
	return value;
}

/* Writes the digits of `value` at the end of the 20 bytes of `into`; returns how many characters. */
static unsigned print_number(char into[21], i64 value)
{
	unsigned at = 21;
	u64 rest = value < 0 ? -(u64)value : (u64)value;
	do
		into[--at] = (char)('0' + rest % 10);
	while (rest /= 10);
	if (value < 0)
		into[--at] = '-';
	return 21 - at;
}

static void write_all(int fd, const char *text, size_t n)
{
	while (n > 0) {
		long wrote = sys(__NR_write, fd, text, n);
		if (wrote == -EINTR)
			continue;
		if (wrote <= 0)
			return;
		text += wrote;
		n -= (size_t)wrote;
	}
}

/* A line on stderr, in one write so that lines of several processes do not mix. Ends with a null pointer. */
static void complain(const char *const *parts)
{
	static char line[1024];
	size_t n = 0;
	for (; *parts; parts++)
		for (const char *c = *parts; *c && n < sizeof line - 1; c++)
			line[n++] = *c;
	line[n++] = '\n';
	write_all(2, line, n);
}
#define COMPLAIN(...) complain((const char *const[]){"tvmm launcher: ", __VA_ARGS__, NULL})

/* The text of a number; each call site has room of its own for as long as its block. */
#define NUMBER(value) number_text((char[22]){0}, value)
static const char *number_text(char room[22], i64 value)
{
	return room + 21 - print_number(room, value);
}

static void __attribute__((noreturn)) leave(int status)
{
	for (;;)
		sys(__NR_exit_group, status);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		sys(__NR_close, fd);
}

static inline void sleep_ms(long ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
	sys(__NR_nanosleep, &pause, NULL);
}

static inline i64 now_ms(void)
{
	struct timespec now;
	sys(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline long wait_for(int pid, int *status, int options)
{
	long result;
	do
		result = sys(__NR_wait4, pid, status, options, NULL);
	while (result == -EINTR);
	return result;
}

/* What exit statuses say of a wait status, as shells do. */
static inline int exit_status(int status)
{
	return (status & 0x7f) == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f);
}

/* The kernel's struct sigaction: not libc's. */
struct action {
	u64 handler, flags, restorer, mask;
};

static inline void set_handler(int signal, u64 handler)
{
	/* The kernel starts no handler without a place to return to; ours do not return. */
	struct action action = {handler, handler > 1 ? 0x04000000 /* SA_RESTORER */ : 0, handler > 1 ? handler : 0, 0};
	sys(__NR_rt_sigaction, signal, &action, NULL, 8);
}

static inline void set_signal_mask(u64 mask)
{
	sys(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, NULL, 8);
}

static inline int is_type(int fd, u32 type)
{
	struct stat st;
	return !failed(sys(__NR_fstat, fd, &st)) && (st.st_mode & S_IFMT) == type;
}
