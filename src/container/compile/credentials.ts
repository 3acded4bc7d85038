/**
 * The last privileges go (config.md, "Linux Process", "POSIX-platform User"): labels of security modules, no_new_privs, groups, user, working
 * directory, capabilities, umask. The order is the kernel's: each step still has the right that it needs, and none outlives its use.
 */
import type { Struct } from '../plan/plan.js';
import type { OciProcess } from '../spec/types.js';
import { data, deviceNumber, NULL, named, type ProgramBuilder, register } from './builder.js';
import {
  type CapabilitySets,
  dropBounding,
  dropTo,
  keepCapabilities,
  setCapabilities,
} from './capabilities.js';
import type { HostFacts } from './context.js';
import { CompileError } from './errors.js';
import { KEYCTL, makedev, PR } from './numbers.js';

/** KEY_POS_ALL, and what a named session keyring gives its user, plus searching: possessor, user, group, other have 6 bits each. */
const KEYRING_PERMISSIONS = 0x3f1b_0000;

/** A session keyring of the container's own, so that the caller's keys do not come along (keyctl(2)). */
export function joinKeyring(program: ProgramBuilder, id: string, create: boolean): void {
  program.call(
    'join a session keyring',
    'keyctl',
    [named(KEYCTL.JOIN_SESSION_KEYRING, 'KEYCTL_JOIN_SESSION_KEYRING'), data(`_ses.${id}`)],
    {
      result: 'keyring',
      allow: ['ENOSYS'],
      hint: 'The quota of keys may be used up (/proc/sys/kernel/keys): raise it, or use --no-new-keyring.',
    },
  );
  if (!create) return;
  program.unless('negative', 'keyring', 'no-keyring', () => {
    program.call(
      'let the session keyring be searched',
      'keyctl',
      [
        named(KEYCTL.SETPERM, 'KEYCTL_SETPERM'),
        register('keyring'),
        named(KEYRING_PERMISSIONS, '0x3f1b0000'),
      ],
      // Of another user's, when the id was used before.
      { allow: ['EACCES'] },
    );
  });
}

/** Refuses labels that this machine has no security module for. @throws CompileError */
export function checkLabels(process: OciProcess | undefined, host: HostFacts, path = 'process'): void {
  if (process?.selinuxLabel !== undefined && !host.selinux)
    throw new CompileError(
      `${path}.selinuxLabel`,
      'asks for an SELinux label, and this machine has no SELinux',
      'Leave it out.',
    );
  const profile = process?.apparmorProfile;
  if (profile !== undefined && profile !== 'unconfined' && !host.apparmor)
    throw new CompileError(
      `${path}.apparmorProfile`,
      `asks for the AppArmor profile ${profile}, and this machine has no AppArmor`,
      'Leave it out.',
    );
}

/** The labels that the program gets with its execve(2). */
export function setLabels(program: ProgramBuilder, process: OciProcess, host: HostFacts): void {
  const { apparmorProfile: profile, selinuxLabel: label } = process;
  if (profile !== undefined && host.apparmor) {
    program.writeFile(
      `set the AppArmor profile ${profile}`,
      'proc',
      'self/attr/apparmor/exec',
      `exec ${profile}`,
      {
        hint: 'The profile must be loaded (apparmor_parser(8)).',
      },
    );
  }
  if (label !== undefined) {
    program.writeFile(`set the SELinux label ${label}`, 'proc', 'self/attr/exec', label, {
      hint: 'The policy must know the label and allow the transition.',
    });
  }
}

export function setNoNewPrivileges(program: ProgramBuilder, process: OciProcess): void {
  if (process.noNewPrivileges === true)
    program.call('forbid new privileges', 'prctl', [
      named(PR.SET_NO_NEW_PRIVS, 'PR_SET_NO_NEW_PRIVS'),
      1,
      0,
      0,
      0,
    ]);
}

const PATH_MAX = 4096;
const CAP_SYS_ADMIN = 1n << 21n;

export interface UserOptions {
  readonly sets: CapabilitySets;
  readonly host: HostFacts;
  readonly userNamespace: boolean;
  /** The user namespace denies setgroups(2). */
  readonly setgroupsDenied: boolean;
  /** A seccomp filter follows that needs CAP_SYS_ADMIN: it is given up last. */
  readonly keepAdmin: boolean;
}

/** The standard streams go to the user, who may want to open them again through /dev/stdout. Devices that all share do not. */
function giveStreams(program: ProgramBuilder, uid: number): void {
  if (uid === 0) return;
  for (const descriptor of [0, 1, 2]) {
    const what = `give descriptor ${descriptor} to user ${uid}`;
    const stat = program.statDescriptor(what, descriptor);
    program.compare(what, deviceNumber(stat), makedev(1, 3), 'is-null');
    program.unless('not-zero', 'is-null', 'null', () => {
      program.call(what, 'fchown', [descriptor, uid, -1], { allow: ['EPERM', 'EROFS', 'EINVAL', 'EACCES'] });
    });
  }
}

/** As root first: it may get to a directory where only the user may not. The user tries again where root was refused. */
function enterWorkingDirectory(program: ProgramBuilder, cwd: string, path: Struct, last: boolean): void {
  program.call(
    `enter the working directory ${cwd}`,
    'chdir',
    [data(cwd)],
    last ? {} : { allow: ['EACCES', 'EPERM'], result: 'entered' },
  );
  // Told by the kernel of the process, not by a path: whatever a link to /proc/self/fd has led to (CVE-2024-21626) is seen.
  const check = () => {
    const what = 'check the working directory';
    program.call(what, 'getcwd', [data(path), PATH_MAX], {
      hint: 'process.cwd must be a directory inside of the root.',
    });
    program.expect(
      'use a working directory outside of the root',
      { from: path, at: 0, size: 1 },
      0x2f,
      'EXDEV',
    );
  };
  if (last) check();
  else program.unless('negative', 'entered', 'not-entered', check);
}

/**
 * Everything from the working directory to the capabilities.
 * @param beforeLast runs as the user, with nothing left to do; CAP_SYS_ADMIN is still there when `keepAdmin` is set, for a seccomp filter
 *   that needs it, and is given up by {@link dropTo}
 */
export function becomeUser(
  program: ProgramBuilder,
  process: OciProcess,
  options: UserOptions,
  beforeLast: () => void,
): void {
  const { sets, host, userNamespace, setgroupsDenied, keepAdmin } = options;
  const { uid, gid, additionalGids = [] } = process.user;
  const path = { bytes: new Uint8Array(PATH_MAX), text: '{path}' };
  enterWorkingDirectory(program, process.cwd, path, false);
  dropBounding(program, sets, host, userNamespace);
  keepCapabilities(program);
  giveStreams(program, uid);
  if (!setgroupsDenied) setGroups(program, additionalGids);
  program.call(`become group ${gid}`, 'setresgid', [gid, gid, gid], {
    hint: 'In a user namespace process.user.gid must be mapped.',
  });
  program.call(`become user ${uid}`, 'setresuid', [uid, uid, uid], {
    hint: 'In a user namespace process.user.uid must be mapped.',
  });
  // The change of user may have made it readable again.
  setUndumpable(program);
  const umask = process.user.umask ?? 0o022;
  program.call('set the umask', 'umask', [named(umask, `0${umask.toString(8)}`)]);
  const admin = keepAdmin ? CAP_SYS_ADMIN : 0n;
  setCapabilities(program, sets, admin);
  program.unless('not-negative', 'entered', 'entered', () =>
    enterWorkingDirectory(program, process.cwd, path, true),
  );
  beforeLast();
}

function setGroups(program: ProgramBuilder, groups: readonly number[]): void {
  const bytes = new Uint8Array(groups.length * 4);
  const view = new DataView(bytes.buffer);
  groups.forEach((group, index) => {
    view.setUint32(index * 4, group, true);
  });
  program.call(
    'set the additional groups',
    'setgroups',
    [groups.length, groups.length === 0 ? NULL : data({ bytes, text: `{${groups.join(', ')}}` })],
    { hint: 'In a user namespace every group of process.user.additionalGids must be mapped.' },
  );
}

/** No process of the container may trace this one or look into its descriptors while it still has some of the host's. */
export function setUndumpable(program: ProgramBuilder): void {
  program.call('keep others from looking in', 'prctl', [
    named(PR.SET_DUMPABLE, 'PR_SET_DUMPABLE'),
    0,
    0,
    0,
    0,
  ]);
}

/** Undoes it, for as long as this process must reach its own files in /proc. */
export function setDumpable(program: ProgramBuilder): void {
  program.call('reach the own files in /proc', 'prctl', [
    named(PR.SET_DUMPABLE, 'PR_SET_DUMPABLE'),
    1,
    0,
    0,
    0,
  ]);
}
