/** What the launches of `create` and `exec` have in common: the launcher's first steps, hooks, the check of what the caller gives. */
import type { Plan, Register, Struct } from '../plan/plan.js';
import type { OciHook, OciProcess } from '../spec/types.js';
import { fsType, type ProgramBuilder } from './builder.js';
import type { CreateContext, ExecContext } from './context.js';
import { CompileError } from './errors.js';
import { MAGIC } from './numbers.js';
import { TAG } from './tags.js';

/** Opens the host's procfs as `proc`, and makes sure that it is one: what is written there later must reach the kernel. */
export function openProc(launcher: ProgramBuilder): void {
  launcher.open('open /proc', '/proc', ['PATH', 'DIRECTORY'], 'proc');
  const statfs = launcher.statfs('look what /proc is', 'proc');
  launcher.expect('use /proc: it is no procfs', fsType(statfs), MAGIC.PROC, 'ENODEV');
}

/** Hooks in their order, each with the state on its standard input. */
export function runHooks(
  program: ProgramBuilder,
  kind: string,
  hooks: readonly OciHook[] | undefined,
  input: Struct,
  environment: readonly string[] = [],
  tell?: Register,
): void {
  for (const [index, hook] of (hooks ?? []).entries()) {
    program.add({
      op: 'hook',
      what: `run ${kind} hook #${index}`,
      path: hook.path,
      argv: hook.args ?? [hook.path],
      environment: hook.env ?? environment,
      input,
      ...(hook.timeout === undefined ? {} : { timeoutSeconds: hook.timeout }),
      ...(tell === undefined ? {} : { tell }),
    });
  }
}

/** What keeps clone3(2) from making a process. */
export const NO_PROCESS =
  'EAGAIN: the limit of processes is reached, of a cgroup (pids.max) or of the user (ulimit -u).';

/** The launcher's last steps: it stays with its child, or leaves it. */
export function leaveOrStay(launcher: ProgramBuilder, supervise: boolean | undefined, child: Register): void {
  if (supervise === true)
    launcher.add({ op: 'supervise', what: 'wait for the container', child, reap: false, tag: TAG.ended });
  else launcher.add({ op: 'exit', what: 'leave', status: 0 });
}

/** @throws CompileError for descriptors that get in each other's way */
export function checkDescriptors(context: CreateContext | ExecContext): void {
  const preserved = context.preserveFds ?? 0;
  if (!Number.isInteger(preserved) || preserved < 0 || context.control < 3 + preserved)
    throw new CompileError(
      '--preserve-fds',
      `keeps ${preserved} descriptors, and the control socket is descriptor ${context.control}`,
    );
}

/** @throws CompileError for a seccomp profile that nobody compiled: it must not be left out silently */
export function checkSeccomp(wanted: boolean, context: CreateContext | ExecContext): void {
  if (wanted && context.seccomp === undefined)
    throw new CompileError('linux.seccomp', 'was not compiled by the caller');
}

/** Whether the filter can wait until the end: with no_new_privs anybody may install one. */
export function seccompComesLast(process: OciProcess): boolean {
  return process.noNewPrivileges === true;
}

/** The plan, with the descriptors that the caller hands over. */
export function planOf(
  programs: readonly ProgramBuilder[],
  context: CreateContext | ExecContext,
  inherited: Readonly<Record<Register, number>> = {},
): Plan {
  const { control, console } = context;
  const handed: Record<Register, number> = { control };
  if (console !== undefined && 'descriptor' in console) handed.console = console.descriptor;
  return {
    programs: programs.map(({ program }) => program),
    inherited: { ...handed, ...inherited },
  };
}
