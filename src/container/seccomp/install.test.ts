/** The compiled filters in the kernel: a small C program installs them and makes calls. Needs gcc and a kernel with seccomp filters. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../sys/package-root.js';
import { compileSeccomp } from './compile.js';
import { defaultProfile } from './default-profile.js';
import type { OciSeccomp } from './profile.js';
import { type Abi, syscallTable } from './syscalls.js';

type Call = readonly [name: string, ...args: (number | bigint)[]];

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-seccomp-'));
  const source = join(packageRoot(), 'src/container/seccomp/testing/probe.c');
  execFileSync('gcc', ['-O1', '-pthread', '-o', join(folder, 'probe'), source]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What becomes of each call under the profile. */
function outcomes(profile: OciSeccomp, abi: Abi, calls: readonly Call[]): string[] {
  const { filter, flags } = compileSeccomp(profile);
  const file = join(folder, 'filter');
  writeFileSync(file, filter);
  const lines = calls.map(([name, ...args]) => {
    const number = syscallTable().get(name)?.[abi];
    return [abi === 'i386' ? 32 : 64, number, ...[0, 1, 2].map((index) => args[index] ?? 0)].join(' ');
  });
  const input = `${lines.join('\n')}\n`;
  return execFileSync(join(folder, 'probe'), [file, String(flags)], { input, encoding: 'utf8' })
    .trim()
    .split('\n');
}

/** Whether this kernel answers int 0x80 at all. */
const hasI386 = () =>
  outcomes({ defaultAction: 'SCMP_ACT_ALLOW', architectures: ['SCMP_ARCH_X86'] }, 'i386', [['getpid']])[0] ===
  'ok';

describe('the kernel, given a compiled filter,', () => {
  const profile: OciSeccomp = {
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
    syscalls: [
      { names: ['getcwd'], action: 'SCMP_ACT_ERRNO' },
      { names: ['getuid'], action: 'SCMP_ACT_ERRNO', errnoRet: 77 },
      { names: ['getgid'], action: 'SCMP_ACT_KILL_PROCESS' },
      { names: ['geteuid'], action: 'SCMP_ACT_TRAP' },
      { names: ['getegid'], action: 'SCMP_ACT_LOG' },
      { names: ['getppid'], action: 'SCMP_ACT_TRACE' },
      {
        names: ['personality'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: 33,
        args: [{ index: 0, op: 'SCMP_CMP_EQ', value: 0xffff_ffff_0000_0001n }],
      },
      {
        names: ['dup2'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: 44,
        args: [{ index: 1, op: 'SCMP_CMP_GT', value: 2 }],
      },
    ],
  };

  it('gives each call its action', () => {
    const calls: Call[] = [
      ['getpid'],
      ['getcwd'],
      ['getuid'],
      ['getgid'],
      ['geteuid'],
      ['getegid'],
      ['getppid'],
    ];
    expect(outcomes(profile, 'x86_64', calls)).toEqual([
      'ok',
      'errno 1',
      'errno 77',
      'signal 31',
      'signal 31',
      'ok',
      // Without a tracer the call does not exist (seccomp(2)).
      'errno 38',
    ]);
  });

  it('compares 64-bit arguments', () => {
    const calls: Call[] = [
      ['personality', 0xffff_ffff_0000_0001n],
      ['personality', 0xffff_ffffn],
      ['dup2', 0, 2],
      ['dup2', 0, 3],
      ['dup2', 0, 2n ** 33n],
    ];
    expect(outcomes(profile, 'x86_64', calls)).toEqual(['errno 33', 'ok', 'ok', 'errno 44', 'errno 44']);
  });

  it('holds for x32 numbers, and kills them where the profile does not name x32', () => {
    expect(outcomes(profile, 'x32', [['getuid'], ['getgid']])).toEqual(['errno 77', 'signal 31']);
    expect(outcomes({ defaultAction: 'SCMP_ACT_ALLOW' }, 'x32', [['getuid']])).toEqual(['signal 31']);
  });

  it('holds for i386 calls, and kills them where the profile does not name x86', ({ skip }) => {
    skip(!hasI386(), 'this kernel has no IA32 emulation');
    // 0x1_0000_0000 above the value: int 0x80 leaves it in the register, the kernel does not look at it.
    const calls: Call[] = [['getuid'], ['getpid'], ['dup2', 0, 3], ['personality', 0x1_0000_0001n]];
    expect(outcomes(profile, 'i386', calls)).toEqual(['errno 77', 'ok', 'errno 44', 'errno 33']);
    expect(outcomes({ defaultAction: 'SCMP_ACT_ALLOW' }, 'i386', [['getpid']])).toEqual(['signal 31']);
  });

  it('asks the listener', () => {
    const notifying: OciSeccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      listenerPath: '/run/agent',
      syscalls: [{ names: ['getuid'], action: 'SCMP_ACT_NOTIFY' }],
    };
    expect(outcomes(notifying, 'x86_64', [['getuid'], ['getpid']])).toEqual(['errno 123', 'ok']);
  });

  it('lets ordinary calls through under the default profile, and not what breaks containers open', () => {
    const calls: Call[] = [
      ['getpid'],
      ['socket', 1, 1],
      ['unshare', 0x10000000],
      ['mount'],
      ['bpf', 99],
      ['keyctl', 0],
      ['clone3'],
    ];
    const [pid, socket, ...rest] = outcomes(defaultProfile([]), 'x86_64', calls);
    expect([pid, socket]).toEqual(['ok', 'ok']);
    expect(rest).toEqual(['errno 1', 'errno 1', 'errno 1', 'errno 1', 'errno 38']);
  });
});
