/**
 * A plan as text, one line a step, as strace(1) writes calls; and as JSON for programs. For people: what is printed is never read back.
 * Long data is cut, so that a line stays a line.
 */
import { isStruct } from './data-area.js';
import type { Argument, CallStep, Data, Plan, Step } from './plan.js';

/** Strings and vectors are cut after this many characters. */
const MAX_TEXT = 200;

/** `mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV, NULL) = r`: a step without what it is for. */
export function printStep(step: Step): string {
  switch (step.op) {
    case 'label':
      return `${step.label}:`;
    case 'call':
      return printCall(step);
    case 'clone': {
      const cgroup = step.cgroup === undefined ? '' : `, cgroup: ${step.cgroup}`;
      return `clone3({flags: ${printCloneFlags(step.flags)}${cgroup}}) { ${step.child} }${gives(step.result)}`;
    }
    case 'jump':
      return step.register === undefined
        ? `goto ${step.label}`
        : `if (${step.register} ${CONDITIONS[step.when]}) goto ${step.label}`;
    case 'send':
      return `send(${step.peer ?? 'engine'}, ${step.tag}${step.register === undefined ? '' : `, ${step.register}`})`;
    case 'receive':
      return `receive(${step.peer ?? 'engine'}, ${step.tag})${gives(step.result)}`;
    case 'ensure':
      return `ensure(${step.root}, ${quote(step.path)}, ${step.kind}, ${octal(step.mode)})${gives(step.result)}`;
    case 'copy-tree':
      return `copy-tree(${step.from}, ${step.to})`;
    case 'decimal':
      return `decimal(${step.from}, ${printData(step.into)} + ${step.at}, ${step.width}, ${step.align})`;
    case 'load': {
      const mask = step.mask === undefined ? '' : ` & ${hex(step.mask)}`;
      const equals = step.equals === undefined ? '' : ` == ${hex(step.equals)}`;
      return `load(${printData(step.from)} + ${step.at}, ${step.size}${mask}${equals})${gives(step.result)}`;
    }
    case 'expect': {
      const mask = step.mask === undefined ? '' : ` & ${hex(step.mask)}`;
      return `expect(${printData(step.from)} + ${step.at}, ${step.size}${mask} == ${hex(step.equals)}) else ${step.error}`;
    }
    case 'send-descriptor':
      return `send-descriptor(${step.socket}, ${step.descriptor}, ${printData(step.payload)})`;
    case 'hook': {
      const timeout = step.timeoutSeconds === undefined ? '' : `, ${step.timeoutSeconds} s`;
      return `hook(${quote(step.path)}, ${printData(step.argv)}, [${step.environment.length} vars], ${printData(step.input)}${timeout}${step.tell === undefined ? '' : `, tell ${step.tell}`})`;
    }
    case 'exec': {
      const [first] = step.candidates;
      const path = step.candidates.length === 1 ? quote(first) : printData(step.candidates);
      return `execve(${path}, ${printData(step.argv)}, [${step.environment.length} vars])`;
    }
    case 'supervise':
      return `supervise(${step.child}, ${step.tag}${step.reap ? ', reap' : ''})${gives(step.result)}`;
    case 'end':
      return `end(${step.status}, ${step.tag}${step.alone ? ', alone' : ''})`;
    case 'exit':
      return `exit(${step.status})`;
  }
}

/** The whole plan, one line a step: programs with their names, labels at the left, what each step is for behind `#`. Ends with a newline. */
export function printPlan(plan: Plan): string {
  const lines: string[] = [];
  const inherited = Object.entries(plan.inherited).map(([name, descriptor]) => `${name} = ${descriptor}`);
  if (inherited.length > 0) lines.push(`inherited ${inherited.join(', ')}`, '');
  plan.programs.forEach((program, index) => {
    if (index > 0) lines.push('');
    lines.push(`${program.name} {`);
    program.steps.forEach((step, at) => {
      lines.push(
        step.op === 'label'
          ? `  ${step.label}:`
          : `  ${String(at).padStart(3)}  ${printStep(step)}   # ${oneLine(step.what)}`,
      );
    });
    lines.push('}');
  });
  return `${lines.join('\n')}\n`;
}

/** The plan for JSON.stringify: each step with its fields, its line of text, and data as `{string}`, `{vector}` or `{bytes: base64}`. */
export function planToJson(plan: Plan): unknown {
  return {
    inherited: plan.inherited,
    programs: plan.programs.map(({ name, steps }) => ({
      name,
      steps: steps.map((step) => ({
        text: printStep(step),
        ...Object.fromEntries(Object.entries(step).map(([key, value]) => [key, toJson(value)])),
      })),
    })),
  };
}

const CONDITIONS = { always: '', negative: '< 0', 'not-negative': '>= 0', zero: '== 0', 'not-zero': '!= 0' };

/** linux/sched.h */
const CLONE_NAMES: readonly (readonly [bigint, string])[] = [
  [0x80n, 'CLONE_NEWTIME'],
  [0x8000n, 'CLONE_PARENT'],
  [0x20000n, 'CLONE_NEWNS'],
  [0x2000000n, 'CLONE_NEWCGROUP'],
  [0x4000000n, 'CLONE_NEWUTS'],
  [0x8000000n, 'CLONE_NEWIPC'],
  [0x10000000n, 'CLONE_NEWUSER'],
  [0x20000000n, 'CLONE_NEWPID'],
  [0x40000000n, 'CLONE_NEWNET'],
  [0x100000000n, 'CLONE_CLEAR_SIGHAND'],
];

function printCloneFlags(flags: bigint): string {
  const names: string[] = [];
  let rest = flags;
  for (const [bit, name] of CLONE_NAMES) {
    if ((flags & bit) === 0n) continue;
    names.push(name);
    rest &= ~bit;
  }
  if (rest !== 0n || names.length === 0) names.push(hex(rest));
  return names.join('|');
}

function printCall(step: CallStep): string {
  const { allow = [] } = step;
  const allowed = allow === 'any' ? ' or any failure' : allow.length === 0 ? '' : ` or ${allow.join(', ')}`;
  return `${step.call}(${step.arguments.map(printArgument).join(', ')})${gives(step.result)}${allowed}`;
}

function printArgument(argument: Argument): string {
  if (typeof argument !== 'object') return String(argument);
  if ('register' in argument) return argument.register;
  if ('data' in argument) return printData(argument.data);
  return argument.text;
}

function printData(data: Data): string {
  if (typeof data === 'string') return quote(data);
  if (isStruct(data)) return oneLine(data.text ?? `{${data.bytes.length} bytes}`);
  const parts: string[] = [];
  let length = 0;
  for (const text of data) {
    const part = quote(text);
    length += part.length;
    if (length > MAX_TEXT) return `[${[...parts, '...'].join(', ')}]`;
    parts.push(part);
  }
  return `[${parts.join(', ')}]`;
}

/** Control characters escaped: a plan may name what a hostile config.json says. */
function quote(text: string | undefined): string {
  if (text === undefined) return 'NULL';
  const cut = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}` : text;
  return `${visible(JSON.stringify(cut))}${cut === text ? '' : '...'}`;
}

function oneLine(text: string): string {
  return visible(text.replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t'));
}

/** What a terminal would act on: C0 and C1 controls, DEL. */
function visible(text: string): string {
  return text.replace(
    /[\p{Cc}]/gu,
    (character) => `\\x${(character.codePointAt(0) ?? 0).toString(16).padStart(2, '0')}`,
  );
}

function gives(result: string | undefined): string {
  return result === undefined ? '' : ` = ${result}`;
}

function octal(mode: number): string {
  return `0${mode.toString(8)}`;
}

function hex(value: number | bigint): string {
  return `0x${BigInt.asUintN(64, BigInt(value)).toString(16)}`;
}

function toJson(value: unknown): unknown {
  if (typeof value === 'bigint') return hex(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]));
  return value;
}
