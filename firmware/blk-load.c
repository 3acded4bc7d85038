/*
 * What a guest asks of its disk in bench/blk.ts: direct I/O at a constant depth through Linux AIO (io_submit(2)), timed by the guest's own
 * clock. Raw system calls and a static binary (@static), since all the rest of that guest is busybox.
 *
 *     blk-load DEVICE NAME read|write random|sequential BLOCK DEPTH SECONDS
 *
 * prints `BLK NAME REQUESTS NANOSECONDS`. A failed or short request ends it with status 1: a rate of errors would be no rate.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_DEPTH 256

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t random_state = 0x9e3779b97f4a7c15ull;

/* xorshift64: the same places for every contestant. */
static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

int main(int argc, char **argv)
{
	if (argc != 8) {
		fprintf(stderr, "usage: blk-load DEVICE NAME read|write random|sequential BLOCK DEPTH SECONDS\n");
		return 2;
	}
	const int write = strcmp(argv[3], "write") == 0;
	const int random = strcmp(argv[4], "random") == 0;
	const size_t block = strtoul(argv[5], NULL, 0);
	const int depth = atoi(argv[6]);
	const uint64_t limit = strtod(argv[7], NULL) * 1e9;
	if (depth < 1 || depth > MAX_DEPTH || block == 0) {
		fprintf(stderr, "blk-load: 1 to %d requests of at least a sector\n", MAX_DEPTH);
		return 2;
	}

	int fd = open(argv[1], O_RDWR | O_DIRECT);
	uint64_t size = 0;
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0)
		die(argv[1]);
	const uint64_t blocks = size / block;
	static struct iocb iocbs[MAX_DEPTH];
	static struct iocb *queue[MAX_DEPTH];
	static struct io_event events[MAX_DEPTH];
	char *buffers;
	aio_context_t context = 0;
	if (blocks == 0 || posix_memalign((void **)&buffers, 4096, block * depth) != 0)
		die("buffers");
	memset(buffers, 0x5a, block * depth);
	if (syscall(SYS_io_setup, depth, &context) < 0)
		die("io_setup");
	for (int i = 0; i < depth; i++) {
		iocbs[i].aio_data = i;
		iocbs[i].aio_fildes = fd;
		iocbs[i].aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
		iocbs[i].aio_buf = (uintptr_t)(buffers + i * block);
		iocbs[i].aio_nbytes = block;
		queue[i] = &iocbs[i];
	}

	uint64_t requests = 0, position = 0;
	int queued = depth, in_flight = 0;
	const uint64_t start = now();
	uint64_t end = start;
	for (;;) {
		for (int i = 0; i < queued; i++) {
			uint64_t at = random ? next_random() % blocks : position++ % blocks;
			queue[i]->aio_offset = at * block;
		}
		for (int done = 0; done < queued;) {
			long taken = syscall(SYS_io_submit, context, queued - done, queue + done);
			if (taken <= 0)
				die("io_submit");
			done += taken;
			in_flight += taken;
		}
		queued = 0;
		if (in_flight == 0)
			break;
		long got = syscall(SYS_io_getevents, context, 1, depth, events, NULL);
		if (got <= 0)
			die("io_getevents");
		in_flight -= got;
		const int over = (end = now()) - start >= limit;
		for (long i = 0; i < got; i++) {
			if ((size_t)events[i].res != block) {
				fprintf(stderr, "blk-load: a request ended with %lld\n", (long long)events[i].res);
				return 1;
			}
			requests++;
			if (!over)
				queue[queued++] = &iocbs[events[i].data];
		}
	}
	printf("BLK %s %llu %llu\n", argv[2], (unsigned long long)requests, (unsigned long long)(end - start));
	return 0;
}
