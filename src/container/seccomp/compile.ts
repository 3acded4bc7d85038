/**
 * Compiles a seccomp profile (OCI runtime-spec, config-linux.md, "Seccomp") to the program that seccomp(2) takes. Pure. What it means by
 * each member is written at {@link compileSeccomp}; where the specification is silent, it is what runc makes of it, so that a profile
 * that works there works here. Refuses what could not work: notifications that nobody would answer, filters too long for the kernel.
 */
import { BackwardAssembler, JMP_JEQ_K, LD_W_ABS, SECCOMP_DATA_ARCH, SECCOMP_DATA_NR } from './bpf.js';
import { type OciSeccomp, type SeccompFlag, SeccompProfileError } from './profile.js';
import { RET_ENOSYS, RET_KILL_PROCESS, returnValue, rulesByName, verdicts } from './rules.js';
import { type Abi, isSyscall, syscallTable, X32_SYSCALL_BIT } from './syscalls.js';
import { internLeaves, overlay, type Segment, TreeWriter } from './tree.js';

/** linux/audit.h. x32 shares x86_64's and is told by its numbers' bit 30. */
export const AUDIT_ARCH_X86_64 = 0xc000003e;
export const AUDIT_ARCH_I386 = 0x40000003;

/** linux/seccomp.h: SECCOMP_FILTER_FLAG_*. TSYNC is none here: the launcher, which installs the filter, has one thread. */
const FLAG_BITS: Readonly<Record<SeccompFlag, number>> = {
  SECCOMP_FILTER_FLAG_TSYNC: 0,
  SECCOMP_FILTER_FLAG_LOG: 1 << 1,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: 1 << 2,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: 1 << 5,
};
const SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3;

/**
 * The launcher hands the listener to the agent by this call, after the filter is installed: a notification about it would wait for the
 * agent that it is there to reach.
 */
const HANDS_LISTENER_ON = 'sendmsg';

/** Where the notifications of SCMP_ACT_NOTIFY go. */
export interface SeccompListener {
  /** Unix socket that takes the container process state and the listener's descriptor. */
  readonly path: string;
  readonly metadata?: string;
}

/** What seccomp(SECCOMP_SET_MODE_FILTER) takes. Shared between containers: nobody may write to it. */
export interface SeccompProgram {
  /** `struct sock_filter`s in little endian, 8 bytes each. */
  readonly filter: Uint8Array;
  /** Number of instructions: `sock_fprog.len`. */
  readonly instructions: number;
  /** SECCOMP_FILTER_FLAG_* bits, NEW_LISTENER included where a listener is wanted. */
  readonly flags: number;
  readonly listener?: SeccompListener;
  /** Names in the profile that no ABI of this machine knows: ignored, but worth a line in a debug log. */
  readonly unknown: readonly string[];
}

function flagBits(profile: OciSeccomp, notifies: boolean): number {
  // No list at all leaves it to the runtime: mitigations of speculative stores cost more than a filter gains.
  let bits = 0;
  for (const flag of profile.flags ?? (['SECCOMP_FILTER_FLAG_SPEC_ALLOW'] as const)) bits |= FLAG_BITS[flag];
  // The kernel refuses it without a listener, to which alone it has a meaning.
  if (!notifies) return bits & ~FLAG_BITS.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
  return bits | SECCOMP_FILTER_FLAG_NEW_LISTENER;
}

function listenerOf(profile: OciSeccomp, pointer: string): SeccompListener | undefined {
  if (profile.defaultAction === 'SCMP_ACT_NOTIFY') {
    throw new SeccompProfileError(
      `${pointer}/defaultAction`,
      'SCMP_ACT_NOTIFY cannot be the default: the listener could not be handed on without a notification',
      'name the calls that shall notify in syscalls',
    );
  }
  let notifies = false;
  profile.syscalls?.forEach((rule, index) => {
    if (rule.action !== 'SCMP_ACT_NOTIFY') return;
    notifies = true;
    if (!rule.names.includes(HANDS_LISTENER_ON)) return;
    throw new SeccompProfileError(
      `${pointer}/syscalls/${index}`,
      `SCMP_ACT_NOTIFY cannot be used for ${HANDS_LISTENER_ON}: the listener is handed to its agent with it`,
      `take ${HANDS_LISTENER_ON} out of the rule`,
    );
  });
  if (!notifies) return undefined;
  if (profile.listenerPath === undefined) {
    throw new SeccompProfileError(
      `${pointer}/listenerPath`,
      'it is missing, though a rule says SCMP_ACT_NOTIFY: nobody would answer',
      'give the path of a Unix socket where an agent listens',
    );
  }
  const metadata = profile.listenerMetadata;
  return { path: profile.listenerPath, ...(metadata === undefined ? {} : { metadata }) };
}

/** Whether calls that the profile's author cannot have known of shall fail as on a kernel that lacks them. */
function hidesNewCalls(profile: OciSeccomp): boolean {
  return !['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_TRACE'].includes(profile.defaultAction);
}

/** The highest number of an ABI that the profile names, be the rule redundant or not. */
function highestNamed(profile: OciSeccomp, abi: Abi): number | undefined {
  const table = syscallTable();
  let highest: number | undefined;
  for (const rule of profile.syscalls ?? []) {
    for (const name of rule.names) {
      const number = table.get(name)?.[abi];
      if (number !== undefined && number > (highest ?? -1)) highest = number;
    }
  }
  return highest;
}

/** The verdicts of numbers that no rule names, for an ABI that begins at `from`. */
function background(profile: OciSeccomp, abi: Abi, from: number, fallback: number): Segment[] {
  const highest = hidesNewCalls(profile) ? highestNamed(profile, abi) : undefined;
  if (highest === undefined) return [{ from, leaf: fallback }];
  return [
    { from, leaf: fallback },
    { from: highest + 1, leaf: RET_ENOSYS },
  ];
}

/**
 * Compiles a profile.
 *
 * - x86_64 is always there; x86 and x32 where `architectures` names them; calls of any other ABI kill the process. Names of other
 *   machines' architectures change nothing.
 * - A rule whose action is the default's counts as absent. A rule without `args` overrides the conditional ones of its call; the first
 *   such rule stays. Conditional rules are tried in the profile's order; `args` on distinct arguments must all hold, several on the
 *   same argument are alternatives (as runc and crun read them).
 * - Values are compared as 64 bits unsigned, as 32 for x86, whose upper halves the kernel ignores, too. SCMP_CMP_MASKED_EQ compares
 *   under the mask on both sides.
 * - Where the default denies, numbers above the highest one that the profile names give ENOSYS: C libraries try new calls and fall
 *   back on that answer alone.
 * - x86's socketcall(2) and ipc(2) obey the rules of the calls inside; where those depend on arguments, which a filter cannot see
 *   there, the severest of their actions is taken.
 * - Names that no ABI here knows are ignored.
 *
 * @param pointer JSON pointer of the profile in its document, for messages
 * @throws SeccompProfileError for notifications without a listener or that could not be delivered, and for two rules that contradict
 * each other; SeccompTooLongError for more than 4,096 instructions
 */
export function compileSeccomp(profile: OciSeccomp, pointer = ''): SeccompProgram {
  const listener = listenerOf(profile, pointer);
  const fallback = returnValue(profile.defaultAction, profile.defaultErrnoRet);
  const rules = rulesByName(profile, pointer);
  const wants = (name: 'SCMP_ARCH_X86' | 'SCMP_ARCH_X32') => profile.architectures?.includes(name) === true;

  const out = new BackwardAssembler();
  const writer = new TreeWriter(out);
  const stranger = out.ret(RET_KILL_PROCESS);
  let otherwise = stranger;
  if (wants('SCMP_ARCH_X86')) {
    const leaves = internLeaves(verdicts(rules, 'i386', fallback));
    const tree = writer.tree(overlay(background(profile, 'i386', 0, fallback), leaves));
    const entry = out.step(LD_W_ABS, SECCOMP_DATA_NR, tree);
    otherwise = out.jump(JMP_JEQ_K, AUDIT_ARCH_I386, entry, stranger);
  }

  const numbers = verdicts(rules, 'x86_64', fallback);
  const x32 = wants('SCMP_ARCH_X32');
  if (x32) verdicts(rules, 'x32', fallback).forEach((leaf, number) => void numbers.set(number, leaf));
  const segments = overlay(
    [
      ...background(profile, 'x86_64', 0, fallback),
      ...(x32
        ? background(profile, 'x32', X32_SYSCALL_BIT, fallback)
        : [{ from: X32_SYSCALL_BIT, leaf: RET_KILL_PROCESS }]),
      // -1 is no call of x32, but what a tracer writes to have a call left out.
      { from: 0xffffffff, leaf: fallback },
    ],
    internLeaves(numbers),
  );
  const entry = out.step(LD_W_ABS, SECCOMP_DATA_NR, writer.tree(segments));
  const start = out.jump(JMP_JEQ_K, AUDIT_ARCH_X86_64, entry, otherwise);
  out.step(LD_W_ABS, SECCOMP_DATA_ARCH, start);

  const unknown = new Set<string>();
  for (const rule of profile.syscalls ?? []) {
    for (const name of rule.names) if (!isSyscall(name)) unknown.add(name);
  }
  return {
    filter: out.bytes(),
    instructions: out.length,
    flags: flagBits(profile, listener !== undefined),
    ...(listener === undefined ? {} : { listener }),
    unknown: [...unknown],
  };
}
