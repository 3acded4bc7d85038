/**
 * The seccomp filter (seccomp(2)), and the container process state that goes with its listener to an agent (config-linux.md, "Seccomp", "The
 * Container Process State"). Without no_new_privs it needs CAP_SYS_ADMIN and so comes before the capabilities go; with it, it comes
 * last, so that it sees as little of the launch as can be.
 */
import type { Struct } from '../plan/plan.js';
import type { SeccompProgram } from '../seccomp/compile.js';
import type { ContainerProcessState, OciState } from '../spec/state.js';
import { data, named, type ProgramBuilder } from './builder.js';
import { connectUnix } from './console.js';
import { SECCOMP_SET_MODE_FILTER } from './numbers.js';

/** Digits of a pid, with room: PID_MAX_LIMIT is 2^22. */
const PID_WIDTH = 10;
const PID_MARK = 1_234_567_890;

/** JSON in which every `pid` is a register's value, filled in when it is known. */
export function stateWithPid(state: object, text: string): { struct: Struct; offsets: readonly number[] } {
  const json = JSON.stringify(state);
  const mark = `"pid":${PID_MARK}`;
  const bytes = Buffer.from(json.replaceAll(mark, `"pid":${' '.repeat(PID_WIDTH)}`));
  const blank = Buffer.from(`"pid":${' '.repeat(PID_WIDTH)}`);
  const offsets: number[] = [];
  for (let at = bytes.indexOf(blank); at >= 0; at = bytes.indexOf(blank, at + 1))
    offsets.push(at + '"pid":'.length);
  return { struct: { bytes: new Uint8Array(bytes), text }, offsets };
}

/** The state of a container for its hooks and agents, its pid left open. */
export function markedState(state: Omit<OciState, 'pid'>): OciState {
  const { annotations, ...rest } = state;
  return { ...rest, pid: PID_MARK, ...(annotations === undefined ? {} : { annotations }) };
}

/** Fills a pid into a state. */
export function fillPid(
  program: ProgramBuilder,
  marked: { struct: Struct; offsets: readonly number[] },
  pid: string,
): void {
  for (const at of marked.offsets)
    program.add({
      op: 'decimal',
      what: 'write a pid',
      from: pid,
      into: marked.struct,
      at,
      width: PID_WIDTH,
      align: 'right',
    });
}

/** Connects to the agent, from outside of the container. */
export function openListener(launcher: ProgramBuilder, seccomp: SeccompProgram | undefined): void {
  if (seccomp?.listener !== undefined)
    connectUnix(
      launcher,
      seccomp.listener.path,
      'listener',
      'seccomp notifications',
      'linux.seccomp.listenerPath',
      'failed to connect with seccomp agent: it',
    );
}

/** Installs the filter; with a listener, hands that to the agent. `pid`: the process's, as the runtime sees it. */
export function installSeccomp(
  program: ProgramBuilder,
  seccomp: SeccompProgram,
  state: OciState,
  pid: string,
): void {
  const fprog = new Uint8Array(16);
  new DataView(fprog.buffer).setUint16(0, seccomp.instructions, true);
  const filter: Struct = { bytes: seccomp.filter, text: `{${seccomp.instructions} instructions}` };
  program.call(
    'install the seccomp filter',
    'seccomp',
    [
      named(SECCOMP_SET_MODE_FILTER, 'SECCOMP_SET_MODE_FILTER'),
      named(seccomp.flags, `0x${seccomp.flags.toString(16)}`),
      data({
        bytes: fprog,
        pointers: [{ at: 8, to: filter }],
        text: `{${seccomp.instructions} instructions}`,
      }),
    ],
    {
      result: 'seccomp',
      hint: 'The kernel must have CONFIG_SECCOMP_FILTER and know every flag in linux.seccomp.flags.',
    },
  );
  if (seccomp.listener === undefined) return;
  const { metadata } = seccomp.listener;
  const processState: ContainerProcessState = {
    ociVersion: state.ociVersion,
    fds: ['seccompFd'],
    pid: PID_MARK,
    ...(metadata === undefined ? {} : { metadata }),
    state,
  };
  const marked = stateWithPid(processState, '{container process state}');
  fillPid(program, marked, pid);
  program.add({
    op: 'send-descriptor',
    what: 'send the seccomp listener to its agent',
    socket: 'listener',
    descriptor: 'seccomp',
    payload: marked.struct,
  });
  program.close('seccomp');
  program.close('listener');
}
