/** A launch that failed, as one sentence: which step of which program, the call as it was made, what the kernel said, what to do. */
import { ERRNO } from '../../sys/errno.js';
import { errnoName, TvmmError } from '../../sys/errors.js';
import type { Plan, Step } from '../plan/plan.js';
import { printStep } from '../plan/print.js';
import { SIGNALS, signalName } from '../spec/signals.js';

const { ENOENT, EACCES, ENOEXEC, ECONNRESET, ECANCELED } = ERRNO;

/** What execve(2) says, as people and clients know it. */
const EXEC_WORDS: ReadonlyMap<number, string> = new Map([
  [ENOENT, 'no such file or directory'],
  [EACCES, 'permission denied'],
  [ENOEXEC, 'exec format error'],
]);

/** Where and how a launch failed. */
export interface LaunchFailure {
  readonly program: number;
  readonly step: number;
  /** 0 for a hook that ended with a status of its own. */
  readonly errno: number;
  /** A wait status where a hook or another process of the launch ended; else 0. */
  readonly waitStatus: number;
  /** The end of what a hook printed. */
  readonly output: string;
}

/** One step of a plan could not be done; the launcher has ended and taken its processes with it. */
export class LaunchError extends TvmmError {
  readonly program: string;
  readonly step: number;
  readonly errno: number;
  readonly failedStep: Step;
  /** What a runtime exits with: 127 where the container's program does not exist, 126 where it cannot run, 125 for all else. */
  readonly exitStatus: number;

  private constructor(message: string, code: string, plan: Plan, failure: LaunchFailure, step: Step) {
    super(message, { code, hint: step.op === 'label' ? undefined : step.hint });
    this.program = plan.programs[failure.program]?.name ?? '';
    this.step = failure.step;
    this.errno = failure.errno;
    this.failedStep = step;
    this.exitStatus = step.op !== 'exec' ? 125 : failure.errno === ENOENT ? 127 : 126;
  }

  /** The error for a failure that the launcher has reported; undefined where the plan has no such step. */
  static of(plan: Plan, failure: LaunchFailure): LaunchError | undefined {
    const step = plan.programs[failure.program]?.steps[failure.step];
    if (step === undefined || step.op === 'label') return undefined;
    const name = failure.errno === 0 ? 'HOOK_FAILED' : errnoName(failure.errno);
    return new LaunchError(
      [told(step), ...asCalled(step), reason(step, failure)].join(': '),
      name,
      plan,
      failure,
      step,
    );
  }
}

/** The call as it was made; what an expectation compares says nothing that its own words do not. */
function asCalled(step: Exclude<Step, { op: 'label' }>): readonly string[] {
  if (step.op === 'expect') return [];
  return [step.op === 'exec' ? `exec ${step.argv[0]}` : printStep(step)];
}

/** What a step failed to do, with the words that clients of other runtimes look for after a hook and a program. */
function told(step: Exclude<Step, { op: 'label' }>): string {
  if (step.op === 'hook') return `error running ${step.what.replace(/^run /, '')}`;
  return `cannot ${step.what}`;
}

/** The launcher ended without a word that can be understood: it was killed, or has refused the plan and said so on stderr. */
export class LauncherDiedError extends TvmmError {
  constructor(message: string) {
    super(`the launcher ${message}`, {
      code: 'LAUNCHER_DIED',
      hint: 'it says why on its stderr, which is the container’s, where it still can',
    });
  }
}

/** `exit status 3`, `killed by SIGKILL`. */
export function describeWaitStatus(status: number): string {
  const signal = status & 0x7f;
  if (signal === 0) return `exit status ${(status >> 8) & 0xff}`;
  const name = signalName(signal);
  // What a seccomp filter does to a process that makes a call it must not make.
  if (signal === SIGNALS.SIGSYS) return 'killed by SIGSYS (bad system call)';
  return `killed by ${/^[0-9]/.test(name) ? 'signal ' : ''}${name}`;
}

function reason(step: Step, { errno, waitStatus, output }: LaunchFailure): string {
  const printed = output.trim() === '' ? '' : `: ${JSON.stringify(output.trim())}`;
  if (errno === 0) return `${describeWaitStatus(waitStatus)}${printed}`;
  if (errno === ECONNRESET && step.op === 'receive') {
    const how = waitStatus === 0 ? '' : ` (${describeWaitStatus(waitStatus)})`;
    return `${step.peer ?? 'the engine'} is gone${how}`;
  }
  if (errno === ECANCELED && step.op === 'receive') return 'the engine is gone';
  const meaning = step.op === 'exec' ? EXEC_WORDS.get(errno) : undefined;
  return `${meaning === undefined ? '' : `${meaning}: `}${errnoName(errno)}${printed}`;
}
