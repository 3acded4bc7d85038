/**
 * Writes a plan as the bytes that the launcher executes (format.ts). The same plan always gives the same bytes. A plan that the launcher
 * would refuse is refused here, with the name of the step; nothing is left out or corrected.
 */
import { DataArea, isStruct, type Patch } from './data-area.js';
import * as f from './format.js';
import {
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
import { errnoOf, type Place, PlanError, recordOf, type StepRecord } from './records.js';

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

/** Places in a step record by the size of what stands there. */
const WORDS = f.STEP_SIZE / 4;
const NUMBER = f.STEP.number / 4;
const FIRST_PATCH = f.STEP.firstPatch / 4;
const PATCHES = f.STEP.patches / 4;
const WHAT = f.STEP.what / 4;
const ARGUMENTS = f.STEP.arguments / 4;

class Encoder {
  readonly #data = new DataArea();
  readonly #patches: Patch[] = [];
  readonly #registers: ReadonlyMap<Register, number>;
  /** The step records. The launcher runs on this machine, so its numbers are in the byte order of typed arrays. */
  readonly #steps: Uint8Array;
  readonly #words: Int32Array;
  readonly #longs: BigUint64Array;

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
    const count = plan.programs.reduce((sum, { steps }) => sum + steps.length, 0);
    this.#steps = new Uint8Array(count * f.STEP_SIZE);
    this.#words = new Int32Array(this.#steps.buffer);
    this.#longs = new BigUint64Array(this.#steps.buffer);
  }

  encode(): Uint8Array {
    const { programs, inherited } = this.plan;
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
      this.#encodeProgram(program, index, first);
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
      [f.HEADER.stepsAt, first, this.#steps],
      [f.HEADER.inheritedAt, Object.keys(inherited).length, inheritedTable],
      [f.HEADER.relocationsAt, this.#data.relocations.length, relocations],
      [f.HEADER.patchesAt, this.#patches.length, patches],
      [f.HEADER.dataAt, data.length, data],
    ]);
  }

  #encodeProgram(program: Program, index: number, first: number): void {
    const labels = new Map<string, number>();
    program.steps.forEach((step, at) => {
      if (step.op !== 'label') return;
      if (labels.has(step.label)) throw new PlanError(`program ${program.name} has two labels ${step.label}`);
      labels.set(step.label, at);
    });
    const here = new StepPlace(program, index, labels);
    program.steps.forEach((step, at) => {
      here.at = at;
      this.#write(recordOf(this.plan, step, here), step, first + at, here);
    });
  }

  // Most of the work of an encoding, in a process that has only just begun and interprets its code: what could be told more shortly with
  // views, and with a function for each part, takes twice as long.
  #write(record: StepRecord, step: Step, index: number, here: Place): void {
    const words = this.#words;
    const base = index * WORDS;
    const { result, register, allow, arguments: args } = record;
    words[base] =
      record.op |
      ((record.flags ?? 0) << 8) |
      ((result === undefined ? f.NO_REGISTER : this.#registerNumber(result, here)) << 16) |
      ((register === undefined ? f.NO_REGISTER : this.#registerNumber(register, here)) << 24);
    words[base + NUMBER] = record.number ?? 0;
    // Execution, and the hooks before it, may come when the engine has long left.
    const described = this.describe || step.op === 'exec' || (step.op === 'hook' && step.tell !== undefined);
    words[base + WHAT] = described && step.op !== 'label' ? this.#data.place(step.what) : f.NO_TEXT;
    if (allow !== undefined) writeAllowed(allow, this.#steps, index * f.STEP_SIZE + f.STEP.allow, here);
    if (args === undefined) return;
    if (args.length > MAX_ARGUMENTS)
      throw new PlanError(`${here.where}: ${args.length} arguments: at most ${MAX_ARGUMENTS}`);
    const firstPatch = this.#patches.length;
    const kinds = index * f.STEP_SIZE + f.STEP.kinds;
    for (let at = 0; at < args.length; at++) {
      let value = args[at] ?? 0;
      if (typeof value === 'object') {
        if ('value' in value) value = value.value;
        else if ('register' in value) {
          this.#steps[kinds + at] = f.KIND.register;
          value = this.#registerNumber(value.register, here);
        } else if ('data' in value) {
          this.#steps[kinds + at] = f.KIND.data;
          const { data } = value;
          value = this.#place(data, here);
          if (isStruct(data) && (data.patches !== undefined || data.pointers !== undefined))
            this.#patches.push(...this.#data.patchesOf(data));
        } else {
          this.#steps[kinds + at] = f.KIND.data;
          value = this.#place(value.fieldOf, here) + value.at;
        }
      }
      const word = base + ARGUMENTS + 2 * at;
      if (typeof value === 'bigint') this.#longs[word / 2] = value;
      else {
        if (!Number.isSafeInteger(value)) throw new PlanError(`${here.where}: ${value} is not an integer`);
        words[word] = value;
        words[word + 1] = Math.floor(value / 2 ** 32);
      }
    }
    const patches = this.#patches.length - firstPatch;
    if (patches === 0) return;
    words[base + FIRST_PATCH] = firstPatch;
    words[base + PATCHES] = patches;
  }

  #place(data: Data, here: Where): number {
    try {
      return this.#data.place(data);
    } catch (error) {
      if (error instanceof RangeError) throw new PlanError(`${here.where}: ${error.message}`);
      throw error;
    }
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

function writeAllowed(allow: readonly string[], bytes: Uint8Array, base: number, here: Where): void {
  if (allow.length > MAX_ALLOWED)
    throw new PlanError(`${here.where}: ${allow.length} errnos are allowed: at most ${MAX_ALLOWED}`);
  allow.forEach((name, index) => {
    const errno = errnoOf(name, here);
    bytes[base + index * 2] = errno;
    bytes[base + index * 2 + 1] = errno >> 8;
  });
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
