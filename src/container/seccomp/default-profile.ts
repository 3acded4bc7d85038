/**
 * The seccomp profile of containers that bring none: an allow-list by groups, each with its reason. Calls that need a capability are there
 * for containers that have it. What is known and refused gives EPERM; what the list does not know gives ENOSYS, as a kernel without the
 * call would, so that programs take their fallback. x32 is left out: nobody ships programs for it, and its numbers have confused filters.
 */
import type { OciSeccomp, OciSeccompArg, OciSyscall, SeccompArchitecture } from './profile.js';

interface Group {
  readonly reason: string;
  /** Names, separated by white space. */
  readonly names: string;
}

interface GuardedGroup extends Group {
  /** Any one of them opens the group. */
  readonly capabilities: readonly string[];
}

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

/** What every program may do: bounded by the container's own files, memory, processes and sockets. */
const ALLOWED: readonly Group[] = [
  {
    reason: 'files: open, read, write, map, watch; permissions are checked by the kernel as ever',
    names: `access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
      fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
      file_getattr file_setattr flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd
      getdents getdents64 lchown lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat
      name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead
      readlink readlinkat readv rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx
      symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
      utimensat_time64 utimes write writev`,
  },
  {
    reason: 'extended attributes, by path, link and descriptor',
    names: `fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
      lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat`,
  },
  {
    reason: 'what is mounted: knowledge only, of the own mount namespace',
    names: 'listmount statmount',
  },
  {
    reason: 'waiting for events, and the descriptors that carry them',
    names: `epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
      eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
      io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect pipe pipe2 poll ppoll ppoll_time64 pselect6
      pselect6_time64 select signalfd signalfd4`,
  },
  {
    reason: 'memory of the own process, and shared memory; NUMA placement stays within the cpuset',
    names: `brk cachestat get_mempolicy madvise map_shadow_stack mbind membarrier memfd_create memfd_secret mincore mlock mlock2
      mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
      remap_file_pages set_mempolicy set_mempolicy_home_node`,
  },
  {
    reason: 'processes and threads of the own pid namespace; clone has rules of its own',
    names: `arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getpgid getpgrp
      getpid getppid getpriority getrlimit getrusage getsid gettid ioprio_get ioprio_set modify_ldt nice pidfd_open
      pidfd_send_signal prctl prlimit64 process_mrelease restart_syscall rseq rseq_slice_yield sched_get_priority_max
      sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
      sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield set_robust_list
      set_thread_area set_tid_address setpgid setpriority setrlimit setsid sysinfo times ugetrlimit uname vfork wait4 waitid
      waitpid`,
  },
  {
    reason:
      'debuggers and crash reporters: since Linux 4.8 a filter is asked again after a tracer changed a call',
    names: 'process_vm_readv process_vm_writev ptrace',
  },
  {
    reason:
      'probes that an administrator sets from outside enter the kernel so; without them the probed program dies',
    names: 'uprobe uretprobe',
  },
  {
    reason: 'sandboxes that a program builds for itself',
    names: 'landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp',
  },
  {
    reason: 'users and groups: the capabilities and the user namespace are the bound',
    names: `getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid getresuid32
      getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32
      setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32`,
  },
  {
    reason: 'signals',
    names: `alarm kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
      rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal sigpending sigprocmask sigreturn sigsuspend tgkill
      tkill`,
  },
  {
    reason: 'futexes',
    names: 'futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake',
  },
  {
    reason: 'clocks and timers; adjtimex reads, too, and asks for CAP_SYS_TIME itself where it sets',
    names: `adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
      clock_nanosleep_time64 getitimer getrandom gettimeofday nanosleep setitimer time timer_create timer_delete
      timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
      timerfd_gettime64 timerfd_settime timerfd_settime64`,
  },
  {
    reason: 'sockets of the own network namespace; socket has rules of its own',
    names: `accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
      send sendmmsg sendmsg sendto setsockopt shutdown socketpair`,
  },
  {
    reason: 'message queues, semaphores and shared memory of the own IPC namespace',
    names: `mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
      msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget`,
  },
];

/** What only those may do who have been given the capability that the kernel asks for. */
const GUARDED: readonly GuardedGroup[] = [
  {
    reason: 'new namespaces give an ordinary user the kernel code that root alone could reach before',
    capabilities: ['CAP_SYS_ADMIN'],
    names: 'setns unshare',
  },
  {
    reason: 'mounts',
    capabilities: ['CAP_SYS_ADMIN'],
    names: `fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr pivot_root umount umount2`,
  },
  {
    reason: 'administration of what no namespace divides',
    capabilities: ['CAP_SYS_ADMIN'],
    names: `fanotify_init lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr quotactl quotactl_fd setdomainname
      sethostname`,
  },
  {
    reason: 'a handle opens a file past the mount namespace',
    capabilities: ['CAP_DAC_READ_SEARCH'],
    names: 'open_by_handle_at',
  },
  { reason: 'programs in the kernel', capabilities: ['CAP_BPF', 'CAP_SYS_ADMIN'], names: 'bpf' },
  {
    reason: 'performance counters observe other containers',
    capabilities: ['CAP_PERFMON', 'CAP_SYS_ADMIN'],
    names: 'perf_event_open',
  },
  { reason: 'the kernel log', capabilities: ['CAP_SYSLOG', 'CAP_SYS_ADMIN'], names: 'syslog' },
  { reason: 'another root folder', capabilities: ['CAP_SYS_CHROOT'], names: 'chroot' },
  { reason: 'ends the pid namespace, or the machine', capabilities: ['CAP_SYS_BOOT'], names: 'reboot' },
  {
    reason: 'code in the kernel',
    capabilities: ['CAP_SYS_MODULE'],
    names: 'delete_module finit_module init_module',
  },
  { reason: 'accounting of the whole machine', capabilities: ['CAP_SYS_PACCT'], names: 'acct' },
  {
    reason: "other processes' descriptors, memory and identity",
    capabilities: ['CAP_SYS_PTRACE'],
    names: 'kcmp pidfd_getfd process_madvise',
  },
  { reason: "other processes' memory", capabilities: ['CAP_SYS_NICE'], names: 'migrate_pages move_pages' },
  { reason: 'ports of the hardware', capabilities: ['CAP_SYS_RAWIO'], names: 'ioperm iopl' },
  {
    reason: "the machine's clock",
    capabilities: ['CAP_SYS_TIME'],
    names: 'clock_settime clock_settime64 settimeofday stime',
  },
  { reason: "everybody's terminal", capabilities: ['CAP_SYS_TTY_CONFIG'], names: 'vhangup' },
];

/** What no container gets from this profile, whatever its capabilities. */
const REFUSED: readonly Group[] = [
  { reason: 'keyrings are not divided by namespaces', names: 'add_key keyctl request_key' },
  {
    reason: 'io_uring does what calls do without being seen by filters, and has had many holes',
    names: 'io_uring_enter io_uring_register io_uring_setup',
  },
  { reason: 'holds kernel code at a page fault: a tool of exploits', names: 'userfaultfd' },
  {
    reason: "shares pages between a pipe and a program's memory: rarely used but in exploits",
    names: 'vmsplice',
  },
  { reason: 'another kernel, and swap', names: 'kexec_file_load kexec_load swapoff swapon' },
  { reason: 'what nobody uses and few have tested for long', names: 'sysfs uselib ustat vm86 vm86old' },
];

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (linux/sched.h). */
const CLONE_NEW_ANY = 0x7e020000;
/** What the kernel takes of an int or unsigned int; a program may leave anything in the register's upper half. */
const INT_MASK = 0xffffffff;
const AF_ALG = 38;
const AF_VSOCK = 40;
/** asm-generic/ioctls.h. */
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;
/** sys/personality.h: PER_LINUX, PER_LINUX32, each also with UNAME26 (0x20000); and the question for the present one. */
const PERSONALITIES = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}

function intIs(index: number, value: number): OciSeccompArg[] {
  return [{ index, op: 'SCMP_CMP_MASKED_EQ', value: INT_MASK, valueTwo: value }];
}

/** Holds always, and yet is a condition: a rule without any would override the conditional ones before it. */
const OTHERWISE: OciSeccompArg[] = [{ index: 0, op: 'SCMP_CMP_GE', value: 0 }];

function allow(names: readonly string[], args?: readonly OciSeccompArg[]): OciSyscall {
  return { names, action: 'SCMP_ACT_ALLOW', ...(args === undefined ? {} : { args }) };
}

function refuse(names: readonly string[], errnoRet: number, args?: readonly OciSeccompArg[]): OciSyscall {
  return { names, action: 'SCMP_ACT_ERRNO', errnoRet, ...(args === undefined ? {} : { args }) };
}

/** Calls whose arguments decide, in the order in which they are tried. */
function conditional(mayMakeNamespaces: boolean): OciSyscall[] {
  return [
    // Families that reach past the network namespace: the kernel's cryptography, and the hypervisor.
    refuse(['socket'], EAFNOSUPPORT, intIs(0, AF_ALG)),
    refuse(['socket'], EAFNOSUPPORT, intIs(0, AF_VSOCK)),
    allow(['socket'], OTHERWISE),
    // 32-bit C libraries make their sockets so. The family lies in memory, unseen: leave SCMP_ARCH_X86 out where that matters.
    allow(['socketcall'], [{ index: 0, op: 'SCMP_CMP_EQ', value: 1 }]),
    // These type into the terminal: of the caller's shell, where the container shares it.
    refuse(['ioctl'], EPERM, intIs(1, TIOCSTI)),
    refuse(['ioctl'], EPERM, intIs(1, TIOCLINUX)),
    allow(['ioctl'], OTHERWISE),
    // Others switch protections of memory off.
    ...PERSONALITIES.map((persona) => allow(['personality'], intIs(0, persona))),
    refuse(['personality'], EPERM, OTHERWISE),
    ...(mayMakeNamespaces
      ? [allow(['clone', 'clone3'])]
      : [
          allow(['clone'], [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: CLONE_NEW_ANY, valueTwo: 0 }]),
          refuse(['clone'], EPERM, OTHERWISE),
          // Its flags lie in memory. C libraries fall back to clone on this errno alone.
          refuse(['clone3'], ENOSYS),
        ]),
  ];
}

/** 32-bit programs run, too. */
const ARCHITECTURES: readonly SeccompArchitecture[] = ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'];

/**
 * The default profile for a container.
 * @param capabilities its bounding set, as `CAP_…` names; each opens the calls that need it
 * @param architectures ABIs that it may use; x86_64 always can
 */
export function defaultProfile(
  capabilities: readonly string[],
  architectures: readonly SeccompArchitecture[] = ARCHITECTURES,
): OciSeccomp {
  const has = new Set(capabilities);
  const open = GUARDED.filter((group) => group.capabilities.some((name) => has.has(name)));
  const closed = GUARDED.filter((group) => !open.includes(group));
  const names = (groups: readonly Group[]) => groups.flatMap((group) => words(group.names));
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: ENOSYS,
    architectures,
    syscalls: [
      allow(names([...ALLOWED, ...open])),
      refuse(names([...closed, ...REFUSED]), EPERM),
      ...conditional(has.has('CAP_SYS_ADMIN')),
    ],
  };
}
