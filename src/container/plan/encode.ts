/**
 * Writes a plan as the bytes that the launcher executes (format.ts). The same plan always gives the same bytes. A plan that the launcher
 * would refuse is refused here, with the name of the step; nothing is left out or corrected.
 */
import { DataArea, type Patch } from './data-area.js';
import * as f from './format.js';
import {
  type Argument,
  CONTROL,
  type Data,
  MAX_ALLOWED,
  MAX_ARGUMENTS,
  MAX_PROGRAMS,
  MAX_REGISTERS,
  MAX_STEPS,
  type Plan,
  type Program,
  type Register,
  type Step,
} from './plan.js';
import { errnoOf, type Field, PlanError, recordOf, type StepRecord } from './records.js';

export { PlanError } from './records.js';

/** The registers of a plan in the order of their numbers: the inherited ones first, the control socket at 0. */
export function registersOf(plan: Plan): readonly Register[] {
  const names = new Set<Register>([CONTROL, ...Object.keys(plan.inherited)]);
  const add = (name: Register | undefined) => name !== undefined && names.add(name);
  for (const { steps } of plan.programs) {
    for (const step of steps) {
      // The register that a step writes is enough: one that is read and never written is a mistake, found when it is looked up.
      if ('result' in step) add(step.result);
    }
  }
  return [...names];
}

/**
 * @param options.describe write each step's `what` into the bytes, for plans whose failures the launcher itself tells; by default where the
 *   plan inherits no control socket. An exec step's always is
 * @throws PlanError
 */
export function encodePlan(plan: Plan, options: { describe?: boolean } = {}): Uint8Array {
  return new Encoder(plan, options.describe ?? plan.inherited[CONTROL] === undefined).encode();
}

class Encoder {
  readonly #data = new DataArea();
  readonly #patches: Patch[] = [];
  readonly #registers: ReadonlyMap<Register, number>;

  constructor(
    readonly plan: Plan,
    readonly describe: boolean,
  ) {
    this.#registers = new Map(registersOf(plan).map((name, index) => [name, index]));
    if (this.#registers.size > MAX_REGISTERS)
      throw new PlanError(`the plan uses ${this.#registers.size} registers: at most ${MAX_REGISTERS}`);
    if (plan.programs.length === 0 || plan.programs.length > MAX_PROGRAMS)
      throw new PlanError(`the plan has ${plan.programs.length} programs: 1 to ${MAX_PROGRAMS}`);
    const names = new Set(plan.programs.map(({ name }) => name));
    if (names.size !== plan.programs.length)
      throw new PlanError('two programs of the plan have the same name');
  }

  encode(): Uint8Array {
    const { programs, inherited } = this.plan;
    const counts = programs.map(({ steps }) => steps.length);
    const steps = new Uint8Array(counts.reduce((sum, count) => sum + count, 0) * f.STEP_SIZE);
    const programTable = new Uint8Array(programs.length * f.PROGRAM_SIZE);
    let first = 0;
    programs.forEach((program, index) => {
      if (program.steps.length > MAX_STEPS)
        throw new PlanError(
          `program ${program.name} has ${program.steps.length} steps: at most ${MAX_STEPS}`,
        );
      const view = new DataView(programTable.buffer, index * f.PROGRAM_SIZE);
      view.setUint32(0, first, true);
      view.setUint32(4, program.steps.length, true);
      this.#encodeProgram(program, index, steps.subarray(first * f.STEP_SIZE));
      first += program.steps.length;
    });
    const inheritedTable = table(Object.entries(inherited), f.INHERITED_SIZE, (view, [name, descriptor]) => {
      if (!Number.isInteger(descriptor) || descriptor < 0)
        throw new PlanError(`register ${name} inherits ${descriptor}, which is no descriptor`);
      view.setUint32(0, this.#registerNumber(name, `the descriptor ${descriptor}`), true);
      view.setInt32(4, descriptor, true);
    });
    const data = this.#data.finish();
    const relocations = table(this.#data.relocations, f.RELOCATION_SIZE, (view, { at, to }) => {
      view.setUint32(0, at, true);
      view.setUint32(4, to, true);
    });
    const patches = table(this.#patches, f.PATCH_SIZE, (view, { at, size, register }) => {
      view.setUint32(0, at, true);
      view.setUint8(4, size);
      view.setUint8(5, this.#registerNumber(register, 'a struct'));
    });
    return assemble([
      [f.HEADER.programsAt, programs.length, programTable],
      [f.HEADER.stepsAt, first, steps],
      [f.HEADER.inheritedAt, Object.keys(inherited).length, inheritedTable],
      [f.HEADER.relocationsAt, this.#data.relocations.length, relocations],
      [f.HEADER.patchesAt, this.#patches.length, patches],
      [f.HEADER.dataAt, data.length, data],
    ]);
  }

  #encodeProgram(program: Program, index: number, into: Uint8Array): void {
    const labels = new Map<string, number>();
    program.steps.forEach((step, at) => {
      if (step.op !== 'label') return;
      if (labels.has(step.label)) throw new PlanError(`program ${program.name} has two labels ${step.label}`);
      labels.set(step.label, at);
    });
    program.steps.forEach((step, at) => {
      const where = `step ${at} of ${program.name}${step.op === 'label' ? '' : ` (${step.what})`}`;
      const record = recordOf(this.plan, step, { program, index, at, labels, where });
      this.#write(record, step, into.subarray(at * f.STEP_SIZE, (at + 1) * f.STEP_SIZE), where);
    });
  }

  #write(record: StepRecord, step: Step, into: Uint8Array, where: string): void {
    const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
    const number = (name: Register | undefined) =>
      name === undefined ? f.NO_REGISTER : this.#registerNumber(name, where);
    view.setUint8(f.STEP.op, record.op);
    view.setUint8(f.STEP.flags, record.flags ?? 0);
    view.setUint8(f.STEP.result, number(record.result));
    view.setUint8(f.STEP.register, number(record.register));
    view.setUint32(f.STEP.number, record.number ?? 0, true);
    // Execution is the one step that may come when the engine has long left.
    const described = this.describe || step.op === 'exec';
    const what = described && step.op !== 'label' ? this.#data.place(step.what) : f.NO_TEXT;
    view.setUint32(f.STEP.what, what, true);
    const allow = record.allow ?? [];
    if (allow.length > MAX_ALLOWED)
      throw new PlanError(`${where}: ${allow.length} errnos are allowed: at most ${MAX_ALLOWED}`);
    allow.forEach((name, index) => {
      view.setUint16(f.STEP.allow + index * 2, errnoOf(name, where), true);
    });
    const args = record.arguments ?? [];
    if (args.length > MAX_ARGUMENTS)
      throw new PlanError(`${where}: ${args.length} arguments: at most ${MAX_ARGUMENTS}`);
    const patches: Patch[] = [];
    args.forEach((argument, index) => {
      const [kind, value] = this.#argument(argument, where);
      view.setUint8(f.STEP.kinds + index, kind);
      view.setBigUint64(f.STEP.arguments + index * 8, BigInt.asUintN(64, value), true);
      if (typeof argument === 'object' && 'data' in argument)
        patches.push(...this.#data.patchesOf(argument.data));
    });
    view.setUint32(f.STEP.firstPatch, patches.length === 0 ? 0 : this.#patches.length, true);
    view.setUint32(f.STEP.patches, patches.length, true);
    this.#patches.push(...patches);
  }

  #argument(argument: Argument | Field, where: string): readonly [kind: number, value: bigint] {
    if (typeof argument === 'bigint') return [f.KIND.number, argument];
    if (typeof argument === 'number') return [f.KIND.number, integer(argument, where)];
    if ('fieldOf' in argument)
      return [f.KIND.data, BigInt(this.#place(argument.fieldOf, where) + argument.at)];
    if ('register' in argument)
      return [f.KIND.register, BigInt(this.#registerNumber(argument.register, where))];
    if ('data' in argument) return [f.KIND.data, BigInt(this.#place(argument.data, where))];
    const { value } = argument;
    return [f.KIND.number, typeof value === 'bigint' ? value : integer(value, where)];
  }

  #place(data: Data, where: string): number {
    try {
      return this.#data.place(data);
    } catch (error) {
      if (error instanceof RangeError) throw new PlanError(`${where}: ${error.message}`);
      throw error;
    }
  }

  #registerNumber(name: Register, where: string): number {
    const number = this.#registers.get(name);
    if (number === undefined) throw new PlanError(`${where}: nothing puts a value into register ${name}`);
    return number;
  }
}

function integer(value: number, where: string): bigint {
  if (!Number.isSafeInteger(value)) throw new PlanError(`${where}: ${value} is not an integer`);
  return BigInt(value);
}

/** One record of `size` bytes for every entry. */
function table<T>(
  entries: readonly T[],
  size: number,
  write: (view: DataView, entry: T) => void,
): Uint8Array {
  const bytes = new Uint8Array(entries.length * size);
  entries.forEach((entry, index) => {
    write(new DataView(bytes.buffer, index * size, size), entry);
  });
  return bytes;
}

/** The header and then the tables, each with its offset and `count` where the header wants them. */
function assemble(
  tables: readonly (readonly [field: number, count: number, bytes: Uint8Array])[],
): Uint8Array {
  const total = tables.reduce((sum, [, , bytes]) => sum + bytes.length, f.HEADER_SIZE);
  if (total > f.MAX_PLAN_BYTES)
    throw new PlanError(`the plan has ${total} bytes: at most ${f.MAX_PLAN_BYTES}`);
  const whole = new Uint8Array(total);
  const header = new DataView(whole.buffer);
  header.setBigUint64(f.HEADER.magic, f.MAGIC, true);
  header.setUint32(f.HEADER.version, f.FORMAT_VERSION, true);
  header.setUint32(f.HEADER.totalSize, total, true);
  let at = f.HEADER_SIZE;
  for (const [field, count, bytes] of tables) {
    header.setUint32(field, at, true);
    header.setUint32(field + 4, count, true);
    whole.set(bytes, at);
    at += bytes.length;
  }
  return whole;
}
