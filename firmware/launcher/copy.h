/*
 * Copies a directory's contents into another, descriptor by descriptor and never through a link: the engine's tmpcopyup. Owners, modes,
 * times and extended attributes are kept; hard links become copies, holes zeros.
 */
#pragma once
#include "sys.h"

#define MAX_DEPTH 64

struct entry {
	u64 inode, offset;
	u16 size;
	u8 type;
	char name[];
};

static char xattr_names[65536], xattr_value[65536], copy_link[4096];

static long copy_xattrs(int from, int to)
{
	long n = sys(__NR_flistxattr, from, xattr_names, sizeof xattr_names);
	if (n == -EOPNOTSUPP)
		return 0;
	if (failed(n))
		return n;
	for (long at = 0; at < n; at += (long)length(xattr_names + at) + 1) {
		long size = sys(__NR_fgetxattr, from, xattr_names + at, xattr_value, sizeof xattr_value);
		if (failed(size))
			continue;
		long set = sys(__NR_fsetxattr, to, xattr_names + at, xattr_value, size, 0);
		/* The target's file system or this user namespace may not know the kind: cp -a goes on as well. */
		if (failed(set) && set != -EOPNOTSUPP && set != -EPERM)
			return set;
	}
	return 0;
}

static long copy_bytes(int from, int to)
{
	for (;;) {
		long n = sys(__NR_sendfile, to, from, NULL, 1 << 30);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n;
	}
}

/* Owner before mode: chown clears set-user-ID bits. */
static long copy_facts(int from, int to, const struct stat *st)
{
	struct timespec times[2] = {{(long)st->st_atime, (long)st->st_atime_nsec}, {(long)st->st_mtime, (long)st->st_mtime_nsec}};
	long result = sys(__NR_fchown, to, st->st_uid, st->st_gid);
	if (!failed(result))
		result = sys(__NR_fchmod, to, st->st_mode & 07777);
	if (!failed(result))
		result = copy_xattrs(from, to);
	if (!failed(result))
		result = sys(__NR_utimensat, to, NULL, times, 0);
	return result;
}

static long copy_contents(int from, int to, int depth);

static long open_target(int to, const char *name, int is_folder, long flags)
{
	if (!is_folder)
		return sys(__NR_openat, to, name, O_WRONLY | O_CREAT | O_EXCL | flags, 0600);
	long made = sys(__NR_mkdirat, to, name, 0700);
	return failed(made) && made != -EEXIST ? made : sys(__NR_openat, to, name, O_RDONLY | flags);
}

static long copy_opened(int from, int to, const char *name, const struct stat *st, int depth)
{
	int is_folder = (st->st_mode & S_IFMT) == S_IFDIR;
	long flags = O_NOFOLLOW | O_CLOEXEC | (is_folder ? O_DIRECTORY : O_NONBLOCK);
	long source = sys(__NR_openat, from, name, O_RDONLY | flags);
	if (failed(source))
		return source;
	/* What was looked at may have been exchanged since. */
	long target = is_type((int)source, st->st_mode & S_IFMT) ? open_target(to, name, is_folder, flags) : -ESTALE;
	long result = target;
	if (!failed(target)) {
		result = is_folder ? copy_contents((int)source, (int)target, depth + 1) : copy_bytes((int)source, (int)target);
		if (!failed(result))
			result = copy_facts((int)source, (int)target, st);
		close_fd((int)target);
	}
	close_fd((int)source);
	return result;
}

static long copy_link_to(int from, int to, const char *name)
{
	long n = sys(__NR_readlinkat, from, name, copy_link, sizeof copy_link - 1);
	if (failed(n))
		return n;
	copy_link[n] = 0;
	return sys(__NR_symlinkat, copy_link, to, name);
}

static long copy_node(int from, int to, const char *name, const struct stat *st)
{
	struct timespec times[2] = {{(long)st->st_atime, (long)st->st_atime_nsec}, {(long)st->st_mtime, (long)st->st_mtime_nsec}};
	int is_link = (st->st_mode & S_IFMT) == S_IFLNK;
	long result = is_link ? copy_link_to(from, to, name) : sys(__NR_mknodat, to, name, st->st_mode, st->st_rdev);
	if (!failed(result))
		result = sys(__NR_fchownat, to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW);
	if (!failed(result) && !is_link)
		result = sys(__NR_fchmodat, to, name, st->st_mode & 07777);
	if (!failed(result))
		result = sys(__NR_utimensat, to, name, times, AT_SYMLINK_NOFOLLOW);
	return result;
}

static long copy_entry(int from, int to, const char *name, int depth)
{
	struct stat st;
	long result = sys(__NR_newfstatat, from, name, &st, AT_SYMLINK_NOFOLLOW);
	if (failed(result))
		return result;
	u32 type = st.st_mode & S_IFMT;
	return type == S_IFDIR || type == S_IFREG ? copy_opened(from, to, name, &st, depth) : copy_node(from, to, name, &st);
}

/* `from` and `to` are open folders, not O_PATH. Returns 0 or minus an errno. */
static long copy_contents(int from, int to, int depth)
{
	_Alignas(8) u8 buffer[2048];
	if (depth > MAX_DEPTH)
		return -ELOOP;
	for (;;) {
		long n = sys(__NR_getdents64, from, buffer, sizeof buffer);
		if (n <= 0)
			return n;
		for (long at = 0; at < n;) {
			const struct entry *entry = (const struct entry *)(buffer + at);
			at += entry->size;
			if (equal(entry->name, ".") || equal(entry->name, ".."))
				continue;
			long result = copy_entry(from, to, entry->name, depth);
			if (failed(result))
				return result;
		}
	}
}

/* The descriptors may be O_PATH ones. */
static long copy_tree(int from, int to)
{
	long source = sys(__NR_openat, from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (failed(source))
		return source;
	long target = sys(__NR_openat, to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = target;
	if (!failed(target)) {
		result = copy_contents((int)source, (int)target, 0);
		close_fd((int)target);
	}
	close_fd((int)source);
	return result;
}
