/*
 * Opens or makes a path below a root without ever leaving it, whatever links the root's owner puts there or swaps while this runs
 * (CVE-2021-30465 and its kin): every step resolves inside the root by openat2(2), links are followed by hand where something is missing.
 */
#pragma once
#include "sys.h"

#define PATH_MAX_ 4096
#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

static long openat2_retried(int folder, const char *path, u64 flags, u64 resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
	long fd;
	/* EAGAIN: something was renamed or mounted meanwhile, and the kernel cannot tell whether it would have left the root. */
	for (int tries = 0; tries < 1000; tries++) {
		fd = sys(__NR_openat2, folder, path, &how, sizeof how);
		if (fd != -EAGAIN && fd != -EINTR)
			break;
	}
	return fd;
}

static char ensure_rest[PATH_MAX_], ensure_link[PATH_MAX_], ensure_done[PATH_MAX_];

/* A path without links inside the root. */
static long open_done(int root, u64 flags)
{
	return openat2_retried(root, ensure_done[0] ? ensure_done : ".", O_PATH | flags, IN_ROOT | RESOLVE_NO_SYMLINKS);
}

static int set_path(char *path, const char *text)
{
	size_t n = length(text);
	if (n >= PATH_MAX_)
		return -ENAMETOOLONG;
	memcpy(path, text, n + 1);
	return 0;
}

/* Puts the link at `fd` before what is left to walk. */
static int follow(int fd, size_t rest_at)
{
	long n = sys(__NR_readlinkat, fd, "", ensure_link, PATH_MAX_ - 1);
	if (failed(n))
		return (int)n;
	size_t left = length(ensure_rest + rest_at);
	if ((size_t)n + 1 + left >= PATH_MAX_)
		return -ENAMETOOLONG;
	ensure_link[n++] = '/';
	memcpy(ensure_link + n, ensure_rest + rest_at, left + 1);
	if (ensure_link[0] == '/')
		ensure_done[0] = 0;
	return set_path(ensure_rest, ensure_link);
}

static void drop_last(char *path)
{
	size_t n = length(path);
	while (n > 0 && path[n - 1] != '/')
		n--;
	path[n > 0 ? n - 1 : 0] = 0;
}

/* One component, made if it is missing; an O_PATH descriptor that may be a link's. */
static long component(int root, const char *name, int is_file, u32 mode)
{
	long folder = open_done(root, O_DIRECTORY), fd;
	if (failed(folder))
		return folder;
	for (int tries = 0; tries < 100; tries++) {
		fd = openat2_retried((int)folder, name, O_PATH | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
		if (fd != -ENOENT)
			break;
		long made = is_file ? sys(__NR_openat, folder, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, mode)
				    : sys(__NR_mkdirat, folder, name, mode);
		if (failed(made) && made != -EEXIST) {
			fd = made;
			break;
		}
		if (is_file && made >= 0)
			close_fd((int)made);
	}
	close_fd((int)folder);
	return fd;
}

static long walk(int root, const char *path, int is_file, u32 mode)
{
	int error = set_path(ensure_rest, path);
	size_t at = 0;
	int links = 0;
	ensure_done[0] = 0;
	while (!error) {
		while (ensure_rest[at] == '/')
			at++;
		if (!ensure_rest[at])
			return open_done(root, 0);
		char name[256];
		size_t n = 0;
		for (; ensure_rest[at] && ensure_rest[at] != '/'; at++) {
			if (n == sizeof name - 1)
				return -ENAMETOOLONG;
			name[n++] = ensure_rest[at];
		}
		name[n] = 0;
		if (equal(name, "."))
			continue;
		if (equal(name, "..")) {
			drop_last(ensure_done);
			continue;
		}
		size_t next = at;
		while (ensure_rest[next] == '/')
			next++;
		int last = !ensure_rest[next];
		long fd = component(root, name, last && is_file, last ? mode : 0755);
		if (failed(fd))
			return fd;
		if (is_type((int)fd, S_IFLNK)) {
			error = ++links > 40 ? -ELOOP : follow((int)fd, at);
			at = 0;
		} else {
			size_t done = length(ensure_done);
			if (done + 1 + n >= PATH_MAX_)
				error = -ENAMETOOLONG;
			else {
				if (done > 0)
					ensure_done[done++] = '/';
				memcpy(ensure_done + done, name, n + 1);
			}
		}
		close_fd((int)fd);
	}
	return error;
}

/* @return an O_PATH descriptor, or minus an errno: ENOTDIR or EISDIR where something else stands there */
static long ensure(int root, const char *path, int is_file, u32 mode)
{
	long fd = openat2_retried(root, *path ? path : ".", O_PATH, IN_ROOT);
	if (fd == -ENOENT)
		fd = walk(root, path, is_file, mode);
	if (failed(fd) || is_type((int)fd, S_IFDIR) != is_file)
		return fd;
	close_fd((int)fd);
	return is_file ? -EISDIR : -ENOTDIR;
}
