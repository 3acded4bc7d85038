/** Plans and folders for the tests of the launcher. */
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Argument, CallStep, CloneStep, Plan, Step } from '../plan/plan.js';

/** The namespaces of a container with six: mount, uts, ipc, pid, net, cgroup. */
export const SIX_NAMESPACES =
  0x2_0000n | 0x400_0000n | 0x800_0000n | 0x2000_0000n | 0x4000_0000n | 0x200_0000n;
export const CLONE_NEWUSER = 0x1000_0000n;
export const TAG_PID = 1;
export const TAG_GO = 2;
export const TAG_READY = 3;
export const TAG_ENDED = 4;

const NULL: Argument = { value: 0, text: 'NULL' };

/** A call step in one line: numbers are numbers, strings are data. */
export function call(
  name: string,
  args: readonly (Argument | string)[],
  rest: Partial<Omit<CallStep, 'op' | 'call' | 'arguments'>> = {},
): CallStep {
  const pass = (argument: Argument | string): Argument =>
    typeof argument === 'string' ? { data: argument } : argument;
  return { op: 'call', what: `call ${name}`, call: name, arguments: args.map(pass), ...rest };
}

export function clone(child: string, flags = 0n, rest: Partial<CloneStep> = {}): CloneStep {
  return { op: 'clone', what: `start ${child}`, flags, child, result: 'pid', ...rest };
}

export function exec(...argv: readonly string[]): Step {
  const [program = ''] = argv;
  return { op: 'exec', what: `start ${program}`, candidates: [program], argv, environment: ['PATH=/bin'] };
}

/** One program that inherits the control socket as descriptor 3. */
export function single(...steps: readonly Step[]): Plan {
  return { programs: [{ name: 'launcher', steps }], inherited: { control: 3 } };
}

/** A root with a static busybox, /proc and nothing else, in a new folder below the temporary one. */
export function makeRoot(): string {
  const root = mkdtempSync(join(tmpdir(), 'tvmm-launch-'));
  chmodSync(root, 0o755);
  for (const folder of ['bin', 'proc', 'tmp']) mkdirSync(join(root, folder));
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  for (const name of ['sh', 'true', 'false', 'cat', 'sleep', 'hostname', 'id', 'ls', 'kill'])
    symlinkSync('busybox', join(root, 'bin', name));
  return root;
}

/** The steps that make `root` the root, with /proc mounted. */
export function enterRoot(root: string): Step[] {
  return [
    call('mount', ['none', '/', NULL, { value: 0x44000, text: 'MS_REC|MS_PRIVATE' }, NULL]),
    call('mount', [root, root, NULL, { value: 0x5000, text: 'MS_BIND|MS_REC' }, NULL]),
    // Before the host's /proc is gone: a user namespace gets a new one only while it sees one whole.
    call('mount', ['proc', `${root}/proc`, 'proc', 0, NULL]),
    call('chdir', [root]),
    call('pivot_root', ['.', '.']),
    call('umount2', ['.', { value: 2, text: 'MNT_DETACH' }]),
    call('chdir', ['/']),
  ];
}

/** A whole container: handshake with the engine, new namespaces, a new root, then `argv`. */
export function containerPlan(
  root: string,
  argv: readonly string[],
  options: { flags?: bigint; before?: readonly Step[] } = {},
): Plan {
  return {
    inherited: { control: 3 },
    programs: [
      {
        name: 'launcher',
        steps: [
          clone('init', options.flags ?? SIX_NAMESPACES),
          { op: 'send', what: 'tell the pid', tag: TAG_PID, register: 'pid' },
          { op: 'receive', what: 'wait for the engine', tag: TAG_GO },
          { op: 'send', what: 'let init go on', tag: TAG_GO, peer: 'init' },
          { op: 'receive', what: 'wait for init', tag: TAG_READY, peer: 'init' },
          { op: 'supervise', what: 'wait for the container', child: 'pid', reap: false, tag: TAG_ENDED },
        ],
      },
      {
        name: 'init',
        steps: [
          call('prctl', [
            { value: 1, text: 'PR_SET_PDEATHSIG' },
            { value: 9, text: 'SIGKILL' },
          ]),
          { op: 'receive', what: 'wait for the launcher', tag: TAG_GO, peer: 'launcher' },
          call('sethostname', ['inside', 6]),
          ...enterRoot(root),
          ...(options.before ?? []),
          { op: 'send', what: 'be ready', tag: TAG_READY, peer: 'launcher' },
          exec(...argv),
        ],
      },
    ],
  };
}
