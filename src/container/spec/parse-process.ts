/** `process` of config.json (config.md, "Process"), also the document that `exec --process` takes. */
import { defined, type Field } from './field.js';
import {
  IO_PRIORITY_CLASSES,
  namesOf,
  parseNumberList,
  SCHEDULER_FLAGS,
  SCHEDULER_POLICIES,
} from './policies.js';
import { rlimitType } from './rlimits.js';
import type { OciCapabilities, OciProcess, OciRlimit, OciScheduler, OciUser } from './types.js';

const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;
/** Columns and rows are unsigned shorts in struct winsize (asm-generic/termios.h). */
const WINSIZE_MAX = 0xffff;
/** The kernel takes at most this many groups (linux/limits.h, NGROUPS_MAX). */
const NGROUPS_MAX = 65_536;

const ioPriorityClasses = namesOf(IO_PRIORITY_CLASSES);
const schedulerFlags = namesOf(SCHEDULER_FLAGS);
const schedulerPolicies = namesOf(SCHEDULER_POLICIES);

export function parseProcess(process: Field): OciProcess {
  const args = process.member('args').list((field) =>
    // Only the program needs a name; later arguments may be empty.
    field.path.endsWith('args[0]') ? field.requiredText() : field.text(),
  );
  if (args === undefined || args.length === 0)
    process.member('args').problem('must have at least one element: the program');
  const terminal = process.member('terminal').boolean();
  return defined({
    terminal,
    // "Runtimes MUST ignore consoleSize if terminal is false or unset."
    consoleSize: terminal === true ? process.member('consoleSize').object(parseConsoleSize) : undefined,
    user: process.member('user').object(parseUser) ?? { uid: 0, gid: 0 },
    args: args ?? [],
    env: process.member('env').list((field) => field.text()),
    cwd: process.member('cwd').absolutePath(),
    capabilities: process.member('capabilities').object(parseCapabilities),
    rlimits: parseRlimits(process.member('rlimits')),
    noNewPrivileges: process.member('noNewPrivileges').boolean(),
    apparmorProfile: process.member('apparmorProfile').words(),
    selinuxLabel: process.member('selinuxLabel').words(),
    oomScoreAdj: process.member('oomScoreAdj').integer(-1000, 1000),
    scheduler: process.member('scheduler').object(parseScheduler),
    ioPriority: process.member('ioPriority').object((field) => ({
      class: field.member('class').requiredOneOf(['IOPRIO_CLASS_BE', ...ioPriorityClasses]),
      priority: field.member('priority').requiredInteger(0, 7),
    })),
    execCPUAffinity: process.member('execCPUAffinity').object((field) =>
      defined({
        initial: numberList(field.member('initial'), 'CPUs'),
        final: numberList(field.member('final'), 'CPUs'),
      }),
    ),
  });
}

function parseConsoleSize(field: Field): { height: number; width: number } {
  return {
    height: field.member('height').requiredInteger(0, WINSIZE_MAX),
    width: field.member('width').requiredInteger(0, WINSIZE_MAX),
  };
}

function parseUser(user: Field): OciUser {
  const additionalGids = user.member('additionalGids').list((field) => id(field));
  if (additionalGids !== undefined && additionalGids.length > NGROUPS_MAX)
    user.member('additionalGids').problem(`must not have more than ${NGROUPS_MAX} elements`);
  return defined({
    uid: id(user.member('uid')) ?? 0,
    gid: id(user.member('gid')) ?? 0,
    umask: user.member('umask').integer(0, 0o777),
    additionalGids,
    username: user.member('username').words(),
  });
}

/** The last id means "leave it as it is" to setresuid(2). */
function id(field: Field): number | undefined {
  return field.integer(0, 2 ** 32 - 2);
}

function parseCapabilities(capabilities: Field): OciCapabilities {
  const set = (name: string) => capabilities.member(name).list((field) => field.text());
  return defined({
    bounding: set('bounding'),
    permitted: set('permitted'),
    effective: set('effective'),
    inheritable: set('inheritable'),
    ambient: set('ambient'),
  });
}

function parseRlimits(rlimits: Field): readonly OciRlimit[] | undefined {
  const seen = new Set<string>();
  return rlimits.list((field) => {
    const name = field.member('type').requiredText();
    const type = rlimitType(name);
    const limit = (member: Field) => {
      if (member.absent) member.problem('is missing');
      return member.exactUint64() ?? 0n;
    };
    const soft = limit(field.member('soft'));
    const hard = limit(field.member('hard'));
    if (type === undefined) {
      return name === ''
        ? undefined
        : field.member('type').problem(`is no resource of getrlimit(2): ${JSON.stringify(name)}`);
    }
    if (seen.has(type)) field.member('type').problem(`repeats ${type}`);
    seen.add(type);
    if (soft > hard) field.member('soft').problem(`must not exceed the hard limit ${hard}, and is ${soft}`);
    return { type, soft, hard };
  });
}

/** sched_setattr(2): which members go with which policy. */
function parseScheduler(scheduler: Field): OciScheduler {
  const policy = scheduler.member('policy').requiredOneOf(['SCHED_OTHER', ...schedulerPolicies]);
  const nice = scheduler.member('nice').integer(INT32_MIN, INT32_MAX);
  const priority = scheduler.member('priority').integer(INT32_MIN, INT32_MAX);
  const realTime = policy === 'SCHED_FIFO' || policy === 'SCHED_RR';
  if (nice !== undefined && (nice < -20 || nice > 19))
    scheduler.member('nice').problem(`must be -20 to 19, not ${nice}`);
  if (priority !== undefined && priority !== 0 && (!realTime || priority < 1 || priority > 99))
    scheduler
      .member('priority')
      .problem(`must be 1 to 99 with SCHED_FIFO and SCHED_RR, and 0 with ${policy}`);
  const nanoseconds = (name: string) => {
    const time = scheduler.member(name).exactUint64();
    if (time !== undefined && time !== 0n && policy !== 'SCHED_DEADLINE')
      scheduler.member(name).problem(`goes with SCHED_DEADLINE only, not with ${policy}`);
    return time;
  };
  return defined({
    policy,
    nice,
    priority,
    flags: scheduler.member('flags').list((field) => field.oneOf(schedulerFlags)),
    runtime: nanoseconds('runtime'),
    deadline: nanoseconds('deadline'),
    period: nanoseconds('period'),
  });
}

/** A list such as `0-3,7`; the empty string says nothing. */
export function numberList(field: Field, of: string): string | undefined {
  const list = field.words();
  if (list !== undefined && parseNumberList(list) === undefined)
    return field.problem(`must be a list of ${of} such as "0-3,7", not ${JSON.stringify(list)}`);
  return list;
}
