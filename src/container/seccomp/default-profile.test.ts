import { describe, expect, it } from 'vitest';
import { AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, compileSeccomp } from './compile.js';
import { defaultProfile } from './default-profile.js';
import { parseSeccomp } from './profile.js';
import { syscallTable } from './syscalls.js';
import { decode, run, verify } from './testing/interpreter.js';

const ALLOW = 0x7fff0000;
const EPERM = 0x50001;
const ENOSYS = 0x50026;
const EAFNOSUPPORT = 0x50061;

/** What the default profile answers. */
function ask(
  capabilities: readonly string[],
  name: string,
  args: readonly bigint[] = [],
  arch = AUDIT_ARCH_X86_64,
): number {
  const program = decode(compileSeccomp(defaultProfile(capabilities)).filter);
  verify(program);
  const nr = syscallTable().get(name)?.[arch === AUDIT_ARCH_I386 ? 'i386' : 'x86_64'];
  if (nr === undefined) throw new Error(`no ${name}`);
  return run(program, { nr, arch, args: [0n, 0n, 0n, 0n, 0n, 0n].map((zero, index) => args[index] ?? zero) })
    .verdict;
}

describe('the default profile', () => {
  it('is a profile by the specification, and names only calls that exist', () => {
    const profile = defaultProfile(['CAP_SYS_ADMIN']);
    expect(parseSeccomp(profile)).toEqual(profile);
    expect(
      compileSeccomp(profile).unknown.filter(
        (name) => !['fstatat64', 'umount', 'utimensat_time64', 'sendfile64'].includes(name),
      ),
    ).toEqual([]);
  });

  it('names each call in one place', () => {
    const names =
      defaultProfile([])
        .syscalls?.filter((rule) => rule.args === undefined)
        .flatMap((rule) => rule.names) ?? [];
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  it('takes a position on every call of x86_64 that a kernel of today has', () => {
    const profile = defaultProfile([]);
    const named = new Set(profile.syscalls?.flatMap((rule) => rule.names));
    const dead =
      '_sysctl create_module get_kernel_syms query_module nfsservctl getpmsg putpmsg afs_syscall tuxcall security vserver listns';
    const forgotten = [...syscallTable()]
      .filter(([name, numbers]) => numbers.x86_64 !== undefined && !named.has(name))
      .map(([name]) => name);
    expect(forgotten.sort()).toEqual(dead.split(' ').sort());
  });

  it.each([
    ['CAP_SYS_ADMIN', ['mount', 'unshare', 'setns', 'bpf', 'syslog', 'clone3', 'sethostname']],
    ['CAP_DAC_READ_SEARCH', ['open_by_handle_at']],
    ['CAP_SYS_CHROOT', ['chroot']],
    ['CAP_BPF', ['bpf']],
    ['CAP_PERFMON', ['perf_event_open']],
    ['CAP_SYSLOG', ['syslog']],
    ['CAP_SYS_PTRACE', ['kcmp', 'pidfd_getfd']],
    ['CAP_SYS_TIME', ['settimeofday']],
    ['CAP_SYS_MODULE', ['init_module']],
    ['CAP_SYS_BOOT', ['reboot']],
  ])('opens to %s what it is for, and to nobody else', (capability, names) => {
    for (const name of names) {
      expect(ask([capability], name), name).toBe(ALLOW);
      expect(ask(['CAP_CHOWN'], name), name).toBe(name === 'clone3' ? ENOSYS : EPERM);
    }
  });

  it('refuses io_uring, keyrings and new kernels even to CAP_SYS_ADMIN', () => {
    for (const name of ['io_uring_setup', 'keyctl', 'kexec_load', 'userfaultfd'])
      expect(ask(['CAP_SYS_ADMIN'], name)).toBe(EPERM);
  });

  it('lets threads be made, and no namespaces', () => {
    const thread = 0x3d0f00n;
    expect(ask([], 'clone', [thread])).toBe(ALLOW);
    for (const flag of [0x20000n, 0x10000000n, 0x40000000n]) {
      expect(ask([], 'clone', [thread | flag])).toBe(EPERM);
      expect(ask(['CAP_SYS_ADMIN'], 'clone', [thread | flag])).toBe(ALLOW);
    }
  });

  it('opens sockets of all families but AF_ALG and AF_VSOCK, whatever stands above the int', () => {
    for (const family of [1n, 2n, 10n, 16n, 17n, 39n, 41n]) expect(ask([], 'socket', [family])).toBe(ALLOW);
    for (const family of [38n, 40n, (7n << 32n) | 38n])
      expect(ask([], 'socket', [family])).toBe(EAFNOSUPPORT);
  });

  it('keeps programs from typing into the terminal', () => {
    expect(ask([], 'ioctl', [0n, 0x5401n])).toBe(ALLOW);
    expect(ask([], 'ioctl', [0n, 0x5412n])).toBe(EPERM);
    expect(ask([], 'ioctl', [0n, (1n << 32n) | 0x541cn])).toBe(EPERM);
  });

  it('lets 32-bit programs make sockets and use System V IPC through their multiplexers', () => {
    expect(ask([], 'socketcall', [1n], AUDIT_ARCH_I386)).toBe(ALLOW);
    expect(ask([], 'socketcall', [3n], AUDIT_ARCH_I386)).toBe(ALLOW);
    expect(ask([], 'ipc', [2n], AUDIT_ARCH_I386)).toBe(ALLOW);
    expect(ask([], 'ipc', [99n], AUDIT_ARCH_I386)).toBe(ENOSYS);
  });

  it('answers ordinary calls and personalities as containers need them', () => {
    for (const name of ['read', 'execve', 'futex', 'openat', 'statx', 'getrandom', 'rseq'])
      expect(ask([], name)).toBe(ALLOW);
    expect(ask([], 'personality', [0xffffffffn])).toBe(ALLOW);
    expect(ask([], 'personality', [0x40000n])).toBe(EPERM);
  });
});
