/**
 * The launch plans of a rootless engine: one makes a user and a mount namespace with a process that holds them, one joins them and becomes a
 * program. A process with several threads, as Node, can do neither (user_namespaces(7)); the launcher can. Pure.
 */
import { data, NULL, named, ProgramBuilder, register } from '../compile/builder.js';
import { openProc } from '../compile/common.js';
import { becomeRoot, cloneFlags, writeIdMaps } from '../compile/namespaces.js';
import { PEER, TAG } from '../compile/tags.js';
import { CONTROL, type Plan } from '../plan/plan.js';
import { NAMESPACES } from '../spec/namespaces.js';
import type { IdMaps } from './subids.js';

const MS_REC_SLAVE = { value: 0x4000 | 0x80000, text: 'MS_REC|MS_SLAVE' };
const HINT =
  'The kernel must let users make user namespaces: see sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns.';

/** Descriptors of {@link holderPlan}'s launcher. */
const HOLDER_CONTROL = 3;
const HOLDER_PROGRAM = 4;

/** The engine is told the holder's pid with {@link TAG.pid}; with more ids than one it is asked for the maps first, with {@link TAG.idMaps}. */
export function holderPlan(maps: IdMaps): Plan {
  const single = maps.single !== undefined;
  const launcher = new ProgramBuilder('launcher');
  const holder = new ProgramBuilder('holder');
  openProc(launcher);
  launcher.add({
    op: 'clone',
    what: 'make a user namespace',
    flags: cloneFlags(['user', 'mount']),
    child: 'holder',
    result: 'holder-pid',
    hint: HINT,
  });
  if (single) writeIdMaps(launcher, maps.uids, maps.gids, 'holder-pid', true);
  else {
    launcher.add({
      op: 'send',
      what: 'ask for the id maps of the user namespace',
      tag: TAG.idMaps,
      register: 'holder-pid',
    });
    launcher.add({ op: 'receive', what: 'get the id maps of the user namespace written', tag: TAG.idMaps });
  }
  launcher.add({ op: 'send', what: 'let the holder go on', tag: PEER.mapped, peer: 'holder' });
  launcher.add({ op: 'receive', what: 'wait for the holder', tag: PEER.limits, peer: 'holder' });
  launcher.add({ op: 'send', what: "tell the holder's pid", tag: TAG.pid, register: 'holder-pid' });
  launcher.add({ op: 'exit', what: 'leave', status: 0 });

  holder.add({ op: 'receive', what: 'wait for the id maps', tag: PEER.mapped, peer: 'launcher' });
  becomeRoot(holder, single);
  // What the host mounts later is seen; what is mounted here stays here.
  holder.call('keep mounts from the host', 'mount', [
    data('none'),
    data('/'),
    NULL,
    named(MS_REC_SLAVE.value, MS_REC_SLAVE.text),
    NULL,
  ]);
  holder.call('leave the terminal', 'setsid', []);
  holder.call('leave the working folder', 'chdir', [data('/')]);
  holder.add({ op: 'send', what: 'tell that it is ready', tag: PEER.limits, peer: 'launcher' });
  holder.add({
    op: 'exec',
    what: 'hold the namespaces',
    candidates: [`/proc/self/fd/${HOLDER_PROGRAM}`],
    argv: ['tvmm-rootless', '--pause'],
    environment: [],
  });
  return {
    programs: [launcher.program, holder.program],
    inherited: { [CONTROL]: HOLDER_CONTROL, program: HOLDER_PROGRAM },
  };
}

export interface Reentry {
  readonly path: string;
  readonly argv: readonly string[];
  readonly environment: readonly string[];
  readonly cwd: string;
}

/** @param namespaces descriptors that the launcher inherits */
export function joinPlan(
  { path, argv, environment, cwd }: Reentry,
  namespaces: { readonly user: number; readonly mount: number },
): Plan {
  const program = new ProgramBuilder('launcher');
  for (const [type, name] of [
    ['user', 'ns-user'],
    ['mount', 'ns-mount'],
  ] as const) {
    const { flag, flagName } = NAMESPACES[type];
    program.call(`join the user's ${type} namespace`, 'setns', [register(name), named(flag, flagName)]);
    program.close(name);
  }
  // The new mount namespace begins at its root. A folder that is gone, or mounted for the caller alone, is not there.
  program.call(`go back to ${cwd}`, 'chdir', [data(cwd)], { allow: ['ENOENT', 'EACCES', 'ENOTDIR'] });
  program.add({ op: 'exec', what: `start ${path}`, candidates: [path], argv, environment });
  return {
    programs: [program.program],
    inherited: { 'ns-user': namespaces.user, 'ns-mount': namespaces.mount },
  };
}
