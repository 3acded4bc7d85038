/*
 * The system calls that plans may use: the names of src/container/plan/syscalls.ts, in the same order (a test compares the two).
 */
#pragma once
#define ALLOWED_CALLS(X) \
	X(read) X(write) X(open) X(close) X(stat) X(fstat) X(lstat) X(lseek) X(ioctl) X(pread64) X(pwrite64) \
	X(access) X(dup) X(dup2) X(nanosleep) X(getpid) X(socket) X(connect) X(sendto) X(recvfrom) X(bind) X(wait4) \
	X(kill) X(uname) X(fcntl) X(flock) X(fsync) X(truncate) X(ftruncate) X(getcwd) X(chdir) X(fchdir) X(rename) X(mkdir) \
	X(rmdir) X(link) X(unlink) X(symlink) X(readlink) X(chmod) X(fchmod) X(chown) X(fchown) X(lchown) X(umask) \
	X(getuid) X(getgid) X(setuid) X(setgid) X(geteuid) X(getegid) X(setpgid) X(getppid) X(setsid) X(setreuid) \
	X(setregid) X(setgroups) X(setresuid) X(setresgid) X(setfsuid) X(setfsgid) X(capget) X(capset) X(mknod) \
	X(personality) X(statfs) X(fstatfs) X(setpriority) X(sched_setparam) X(sched_setscheduler) X(pivot_root) \
	X(prctl) X(setrlimit) X(chroot) X(mount) X(umount2) X(sethostname) X(setdomainname) X(gettid) X(setxattr) \
	X(lsetxattr) X(fsetxattr) X(getxattr) X(sched_setaffinity) X(keyctl) X(ioprio_set) X(set_mempolicy) \
	X(openat) X(mkdirat) X(mknodat) X(fchownat) X(newfstatat) X(unlinkat) X(renameat) X(linkat) X(symlinkat) \
	X(readlinkat) X(fchmodat) X(faccessat) X(unshare) X(utimensat) X(fallocate) X(dup3) X(prlimit64) \
	X(name_to_handle_at) X(setns) X(sched_setattr) X(renameat2) X(seccomp) X(memfd_create) X(bpf) X(statx) \
	X(pidfd_send_signal) X(open_tree) X(move_mount) X(fsopen) X(fsconfig) X(fsmount) X(fspick) X(pidfd_open) \
	X(close_range) X(openat2) X(pidfd_getfd) X(faccessat2) X(mount_setattr) X(set_mempolicy_home_node)
