/**
 * A step as the record that the launcher reads: which part of the step stands in which field (format.ts), with all that can be said about
 * a step without knowing where its data will lie.
 */
import { errnoNumber } from '../../sys/errno.js';
import { TvmmError } from '../../sys/errors.js';
import { isStruct } from './data-area.js';
import * as f from './format.js';
import type {
  Argument,
  CloneStep,
  Plan,
  Program,
  Register,
  SendDescriptorStep,
  Step,
  Struct,
} from './plan.js';
import { syscallNumber } from './syscalls.js';

/** A plan that cannot be executed: a mistake of whoever wrote it. */
export class PlanError extends TvmmError {
  constructor(message: string) {
    super(message, { code: 'PLAN_INVALID' });
  }
}

/** The fields of a step record. What is left out is 0, or no register. */
export interface StepRecord {
  readonly op: number;
  readonly flags?: number;
  readonly result?: Register;
  readonly register?: Register;
  readonly number?: number;
  readonly allow?: readonly string[];
  readonly arguments?: readonly (Argument | Field)[];
}

/** The address of a field inside a struct. */
export interface Field {
  readonly fieldOf: Struct;
  readonly at: number;
}

/** Where a step stands. */
export interface Place {
  readonly program: Program;
  readonly index: number;
  readonly at: number;
  readonly labels: ReadonlyMap<string, number>;
  /** For messages: `step 3 of init (mount /proc)`. */
  readonly where: string;
}

/** <linux/sched.h> */
const CLONE_PARENT = 0x8000n;

/** @throws PlanError */
export function recordOf(plan: Plan, step: Step, here: Place): StepRecord {
  const op = f.OP[step.op];
  switch (step.op) {
    case 'label':
      return { op };
    case 'call': {
      const number = syscallNumber(step.call);
      if (number === undefined) throw new PlanError(`${here.where}: plans may not call ${step.call}`);
      const any = step.allow === 'any';
      const flags = (step.restart === false ? 0 : f.FLAG_RESTART) | (any ? f.FLAG_ALLOW_ANY : 0);
      const allow = step.allow === 'any' ? undefined : step.allow;
      return { op, number, flags, result: step.result, allow, arguments: step.arguments };
    }
    case 'clone': {
      const child = plan.programs.findIndex(({ name }) => name === step.child);
      if (child <= here.index)
        throw new PlanError(`${here.where}: no program ${step.child} stands after ${here.program.name}`);
      if ((step.flags & ~f.CLONE_FLAGS) !== 0n)
        throw new PlanError(`${here.where}: clone flags 0x${step.flags.toString(16)} are not all namespaces`);
      return { op, number: child, result: step.result, register: step.cgroup, arguments: [step.flags] };
    }
    case 'jump': {
      const target = here.labels.get(step.label);
      if (target === undefined || target <= here.at)
        throw new PlanError(`${here.where}: no label ${step.label} follows`);
      if ((step.when === 'always') !== (step.register === undefined))
        throw new PlanError(`${here.where}: a jump has a condition and a register, or neither`);
      return { op, number: target, flags: f.CONDITION[step.when], register: step.register };
    }
    case 'send':
    case 'receive': {
      if (!(step.tag >= 1 && step.tag <= 99))
        throw new PlanError(`${here.where}: tag ${step.tag} is not 1 to 99`);
      const peer = step.peer === undefined ? f.ENGINE : peerOf(plan, step.peer, here);
      const register = step.op === 'send' ? step.register : undefined;
      const result = step.op === 'receive' ? step.result : undefined;
      return { op, number: step.tag, flags: peer, register, result };
    }
    case 'ensure':
      return {
        op,
        flags: step.kind === 'file' ? f.FLAG_FILE : 0,
        register: step.root,
        result: step.result,
        arguments: [{ data: step.path }, step.mode],
      };
    case 'copy-tree':
      return { op, arguments: [{ register: step.from }, { register: step.to }] };
    case 'decimal':
      if (!(step.width >= 1 && step.width <= 20))
        throw new PlanError(`${here.where}: a width of ${step.width} is not 1 to 20`);
      return {
        op,
        flags: step.align === 'right' ? f.FLAG_RIGHT : 0,
        register: step.from,
        arguments: [fieldOf(step.into, step.at, step.width, here), step.width],
      };
    case 'load':
      return {
        op,
        flags: step.size,
        result: step.result,
        number: step.equals === undefined ? 0 : 1,
        arguments: [
          fieldOf(step.from, step.at, step.size, here),
          step.mask ?? 0xffff_ffff_ffff_ffffn,
          step.equals ?? 0,
        ],
      };
    case 'expect': {
      const mask = step.mask ?? 0xffff_ffff_ffff_ffffn;
      return {
        op,
        flags: step.size,
        number: errnoOf(step.error, here),
        arguments: [fieldOf(step.from, step.at, step.size, here), mask, step.equals],
      };
    }
    case 'send-descriptor': {
      const length = payloadLength(step, here);
      if (length < 1) throw new PlanError(`${here.where}: a descriptor goes with at least one byte`);
      return {
        op,
        arguments: [{ register: step.socket }, { register: step.descriptor }, { data: step.payload }, length],
      };
    }
    case 'hook':
      return {
        op,
        register: step.tell,
        arguments: [
          { data: step.path },
          { data: step.argv },
          { data: step.environment },
          { data: step.input },
          step.input.bytes.length,
          step.timeoutSeconds ?? 0,
        ],
      };
    case 'exec':
      return {
        op,
        arguments: [{ data: step.candidates }, { data: step.argv }, { data: step.environment }],
      };
    case 'supervise':
      return {
        op,
        flags: step.reap ? f.FLAG_REAP : 0,
        register: step.child,
        number: step.tag,
        result: step.result,
      };
    case 'end':
      return { op, flags: step.alone ? f.FLAG_ALONE : 0, register: step.status, number: step.tag };
    case 'exit':
      return { op, number: step.status };
  }
}

/** A field of a struct as an argument: the struct's place plus the field's. */
function fieldOf(struct: Struct, at: number, size: number, here: Place): Field {
  if (!Number.isInteger(at) || at < 0 || at + size > struct.bytes.length)
    throw new PlanError(
      `${here.where}: ${size} bytes at ${at} are not inside a struct of ${struct.bytes.length}`,
    );
  return { fieldOf: struct, at };
}

/** The number under which a program has its socket to `name`. */
function peerOf(plan: Plan, name: string, here: Place): number {
  const channel = channelBetween(plan, here.program.name, name);
  if (channel === undefined)
    throw new PlanError(`${here.where}: ${name} and ${here.program.name} are not parent and child`);
  return channel;
}

/**
 * Parent and child have a socket each under the other's number. A child by CLONE_PARENT takes over its sibling's socket to the parent, so
 * the parent reaches both of them by the sibling's number.
 */
function channelBetween(plan: Plan, self: string, peer: string): number | undefined {
  const number = plan.programs.findIndex(({ name }) => name === peer);
  if (clonesOf(plan, self, peer).length > 0 || clonesOf(plan, peer, self).length > 0) return number;
  for (const { name: between } of plan.programs) {
    const isSibling = (child: string) =>
      clonesOf(plan, between, child).some(({ flags }) => (flags & CLONE_PARENT) !== 0n);
    // Only a socket to a parent is taken over, so `between` must have been cloned by the other one.
    if (isSibling(self) && clonesOf(plan, peer, between).length > 0) return number;
    if (isSibling(peer) && clonesOf(plan, self, between).length > 0)
      return plan.programs.findIndex(({ name }) => name === between);
  }
  return undefined;
}

function clonesOf(plan: Plan, parent: string, child: string): CloneStep[] {
  const steps = plan.programs.find(({ name }) => name === parent)?.steps ?? [];
  return steps.filter((step): step is CloneStep => step.op === 'clone' && step.child === child);
}

/** Payloads are strings or structs; a vector has no bytes of its own to send. */
function payloadLength(step: SendDescriptorStep, here: Place): number {
  if (typeof step.payload === 'string') return Buffer.byteLength(step.payload);
  if (isStruct(step.payload)) return step.payload.bytes.length;
  throw new PlanError(`${here.where}: a payload is a string or bytes`);
}

/** @throws PlanError for a name that is none */
export function errnoOf(name: string, here: Pick<Place, 'where'>): number {
  const errno = errnoNumber(name);
  if (errno === undefined) throw new PlanError(`${here.where}: ${name} is no errno`);
  return errno;
}
