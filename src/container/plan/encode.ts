/**
 * Writes a plan as the bytes that the launcher executes (format.ts). The same plan always gives the same bytes. A plan that the launcher
 * would refuse is refused here, with the name of the step; nothing is left out or corrected.
 */
import { DataArea, isStruct, type Patch } from './data-area.js';
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
import { errnoOf, type Field, type Place, PlanError, recordOf, type StepRecord } from './records.js';

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
 *   plan inherits no control socket. Those of steps that may come when the engine has left always are
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
      this.#encodeProgram(program, index, new DataView(steps.buffer, first * f.STEP_SIZE));
      first += program.steps.length;
    });
    const inheritedTable = table(Object.entries(inherited), f.INHERITED_SIZE, (view, [name, descriptor]) => {
      if (!Number.isInteger(descriptor) || descriptor < 0)
        throw new PlanError(`register ${name} inherits ${descriptor}, which is no descriptor`);
      view.setUint32(0, this.#registerNumber(name, { where: `the descriptor ${descriptor}` }), true);
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
      view.setUint8(5, this.#registerNumber(register, { where: 'a struct' }));
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

  #encodeProgram(program: Program, index: number, view: DataView): void {
    const labels = new Map<string, number>();
    program.steps.forEach((step, at) => {
      if (step.op !== 'label') return;
      if (labels.has(step.label)) throw new PlanError(`program ${program.name} has two labels ${step.label}`);
      labels.set(step.label, at);
    });
    const here = new StepPlace(program, index, labels);
    program.steps.forEach((step, at) => {
      here.at = at;
      this.#write(recordOf(this.plan, step, here), step, view, at * f.STEP_SIZE, here);
    });
  }

  // Most of the work of an encoding, in a process that has only just begun: no views, sets or bigints where numbers do.
  #write(record: StepRecord, step: Step, view: DataView, base: number, here: Place): void {
    view.setUint8(base + f.STEP.op, record.op);
    view.setUint8(base + f.STEP.flags, record.flags ?? 0);
    view.setUint8(base + f.STEP.result, this.#optionalRegister(record.result, here));
    view.setUint8(base + f.STEP.register, this.#optionalRegister(record.register, here));
    view.setUint32(base + f.STEP.number, record.number ?? 0, true);
    // Execution, and the hooks before it, may come when the engine has long left.
    const described = this.describe || step.op === 'exec' || (step.op === 'hook' && step.tell !== undefined);
    const what = described && step.op !== 'label' ? this.#data.place(step.what) : f.NO_TEXT;
    view.setUint32(base + f.STEP.what, what, true);
    if (record.allow !== undefined) writeAllowed(record.allow, view, base + f.STEP.allow, here);
    const firstPatch = this.#patches.length;
    const args = record.arguments ?? [];
    if (args.length > MAX_ARGUMENTS)
      throw new PlanError(`${here.where}: ${args.length} arguments: at most ${MAX_ARGUMENTS}`);
    for (let index = 0; index < args.length; index++) {
      const argument = args[index] ?? 0;
      view.setUint8(base + f.STEP.kinds + index, kindOf(argument));
      writeWord(view, base + f.STEP.arguments + index * 8, this.#valueOf(argument, here));
      if (typeof argument === 'object' && 'data' in argument && isStruct(argument.data))
        this.#patches.push(...this.#data.patchesOf(argument.data));
    }
    const patches = this.#patches.length - firstPatch;
    view.setUint32(base + f.STEP.firstPatch, patches === 0 ? 0 : firstPatch, true);
    view.setUint32(base + f.STEP.patches, patches, true);
  }

  /** A number that is no integer is refused. */
  #valueOf(argument: Argument | Field, here: Place): number | bigint {
    if (typeof argument === 'bigint') return argument;
    if (typeof argument === 'number') return integer(argument, here);
    if ('register' in argument) return this.#registerNumber(argument.register, here);
    if ('data' in argument) return this.#place(argument.data, here);
    if ('fieldOf' in argument) return this.#place(argument.fieldOf, here) + argument.at;
    const { value } = argument;
    return typeof value === 'bigint' ? value : integer(value, here);
  }

  #place(data: Data, here: Where): number {
    try {
      return this.#data.place(data);
    } catch (error) {
      if (error instanceof RangeError) throw new PlanError(`${here.where}: ${error.message}`);
      throw error;
    }
  }

  #optionalRegister(name: Register | undefined, here: Where): number {
    return name === undefined ? f.NO_REGISTER : this.#registerNumber(name, here);
  }

  #registerNumber(name: Register, here: Where): number {
    const number = this.#registers.get(name);
    if (number === undefined)
      throw new PlanError(`${here.where}: nothing puts a value into register ${name}`);
    return number;
  }
}

type Where = Pick<Place, 'where'>;

/** Which step is being encoded: one object a program, its words made only for an error. */
class StepPlace implements Place {
  at = 0;

  constructor(
    readonly program: Program,
    readonly index: number,
    readonly labels: ReadonlyMap<string, number>,
  ) {}

  get where(): string {
    const step = this.program.steps[this.at];
    const what = step === undefined || step.op === 'label' ? '' : ` (${step.what})`;
    return `step ${this.at} of ${this.program.name}${what}`;
  }
}

function kindOf(argument: Argument | Field): number {
  if (typeof argument !== 'object') return f.KIND.number;
  if ('register' in argument) return f.KIND.register;
  return 'data' in argument || 'fieldOf' in argument ? f.KIND.data : f.KIND.number;
}

function writeAllowed(allow: readonly string[], view: DataView, base: number, here: Where): void {
  if (allow.length > MAX_ALLOWED)
    throw new PlanError(`${here.where}: ${allow.length} errnos are allowed: at most ${MAX_ALLOWED}`);
  allow.forEach((name, index) => {
    view.setUint16(base + index * 2, errnoOf(name, here), true);
  });
}

/** 64 bits, little endian, two's complement. */
function writeWord(view: DataView, at: number, value: number | bigint): void {
  if (typeof value === 'bigint') {
    view.setBigUint64(at, BigInt.asUintN(64, value), true);
    return;
  }
  view.setUint32(at, value, true);
  view.setInt32(at + 4, Math.floor(value / 2 ** 32), true);
}

function integer(value: number, here: Where): number {
  if (!Number.isSafeInteger(value)) throw new PlanError(`${here.where}: ${value} is not an integer`);
  return value;
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
