/**
 * The launch plan: what the launcher does between its start and the container's first program, as data. A plan is a few straight
 * programs of system calls; each process of the launch runs one of them. It can be printed, compared and taught from; encode.ts turns it
 * into the bytes that firmware/launcher.c executes. Nothing in here touches the system.
 *
 * Registers hold what calls return (descriptors, pids). A process that clones gives its child a copy of its registers. Data is private
 * to each process too: a {@link Struct} that stands in several arguments is one place in memory (that is how one call reads what another
 * has written), in the child a copy of its own.
 *
 * Every program ends: jumps go forward only, and a program clones only programs that stand after it in the plan. A step that fails is
 * reported, then its process kills the children it cloned and exits with status 125 (`exec`: 126 or 127).
 */

/** The name of a register. The encoder gives it a number; at most {@link MAX_REGISTERS} in a plan. */
export type Register = string;

/** Registers that a plan may use, and the arguments of one call. */
export const MAX_REGISTERS = 64;
export const MAX_ARGUMENTS = 6;

/** Programs of a plan, errnos that one call may allow, and the steps of one program. */
export const MAX_PROGRAMS = 16;
export const MAX_ALLOWED = 4;
export const MAX_STEPS = 65_535;

/** The register that holds the socket to the engine. A plan that does not inherit it reports failures on stderr. */
export const CONTROL: Register = 'control';

/** What a pointer argument points to: bytes in the plan's data, with the address of other data or the value of a register put into it. */
export interface Struct {
  readonly bytes: Uint8Array;
  /** 8-byte fields that hold the address of other data: relocated when the plan is loaded. */
  readonly pointers?: readonly { readonly at: number; readonly to: Data }[];
  /** Fields that take a register's value just before the call, little endian. */
  readonly patches?: readonly { readonly at: number; readonly size: 4 | 8; readonly from: Register }[];
  /** Shown instead of the bytes when the plan is printed: `{flags: O_PATH, resolve: RESOLVE_IN_ROOT}`. */
  readonly text?: string;
}

/** Data of a plan: a string (NUL-terminated), a vector of strings (NULL-terminated, as execve(2) takes it), or bytes. */
export type Data = string | readonly string[] | Struct;

/** An argument of a call: a number (with the name to print instead of it), a register, or a pointer to data. */
export type Argument =
  | number
  | bigint
  | { readonly value: number | bigint; readonly text: string }
  | { readonly register: Register }
  | { readonly data: Data };

interface Common {
  /** What the step is for, as a clause that completes "cannot …": `mount proc at /proc`. Shown with the plan and in errors. */
  readonly what: string;
  /** What the user can do when it fails. */
  readonly hint?: string;
}

/** One system call. */
export interface CallStep extends Common {
  readonly op: 'call';
  /** The call's name in the kernel's table for x86-64 (syscalls.ts): `mount`, `openat2`. */
  readonly call: string;
  readonly arguments: readonly Argument[];
  /** Register that takes the result (or, for an allowed errno, the negated errno). */
  readonly result?: Register;
  /** Failures that are no failure of the plan, by errno name; at most 4, or all of them. */
  readonly allow?: readonly string[] | 'any';
  /** A call that a signal interrupts is repeated, unless this says not. */
  readonly restart?: boolean;
}

/** clone3(2) without shared memory, descriptors or signal handlers. The child runs `child` and its registers are a copy; the parent goes on and has the child's pid in `result`. */
export interface CloneStep extends Common {
  readonly op: 'clone';
  /** CLONE_NEW* and CLONE_PARENT and the like. */
  readonly flags: bigint;
  readonly child: string;
  readonly result: Register;
  /** Descriptor register of a cgroup v2 folder: CLONE_INTO_CGROUP. */
  readonly cgroup?: Register;
}

/** Goes on at `label`, further down in this program, when a register's value is as asked; `always` without a register. */
export interface JumpStep extends Common {
  readonly op: 'jump';
  readonly when: 'always' | 'negative' | 'not-negative' | 'zero' | 'not-zero';
  readonly register?: Register;
  readonly label: string;
}

/** Marks a place in a program. No process executes it. */
export interface LabelStep {
  readonly op: 'label';
  readonly label: string;
}

/** Tells the engine something, or a `peer`: `tag` is 1 to 99 of the plan's author, `register`'s value goes along. */
export interface SendStep extends Common {
  readonly op: 'send';
  readonly tag: number;
  /**
   * Name of the program that cloned this one, or that this one has cloned: every clone step makes a socket between the two. A child by
   * CLONE_PARENT also shares its sibling's socket to the common parent: only one of the two may use it at a time.
   */
  readonly peer?: string;
  readonly register?: Register;
}

/**
 * Waits until the engine (`peer` undefined) or another process of the plan sends `tag`; its value goes into `result`. Fails when the
 * other side is gone, and when the engine is gone while it waits for a peer.
 */
export interface ReceiveStep extends Common {
  readonly op: 'receive';
  readonly tag: number;
  /** As in {@link SendStep}. */
  readonly peer?: string;
  readonly result?: Register;
}

/**
 * Opens or makes a path below a root descriptor, never leaving it: every component with openat2(2) RESOLVE_IN_ROOT, missing ones made with
 * mkdirat(2) or, for the last of a `file`, mknodat(2)-like creation. `result` is an O_PATH descriptor.
 */
export interface EnsureStep extends Common {
  readonly op: 'ensure';
  readonly root: Register;
  readonly path: string;
  readonly kind: 'directory' | 'file';
  readonly mode: number;
  readonly result: Register;
}

/** Copies a directory's contents, with owners, modes, times, links and extended attributes, from one descriptor into another: tmpcopyup. */
export interface CopyStep extends Common {
  readonly op: 'copy-tree';
  readonly from: Register;
  readonly to: Register;
}

/** Writes the decimal value of a register, padded with spaces, into data at `at`: a pid in a path or in JSON. */
export interface DecimalStep extends Common {
  readonly op: 'decimal';
  readonly from: Register;
  readonly into: Struct;
  readonly at: number;
  readonly width: number;
  /** `left`: digits first, then NULs (for paths); `right`: spaces first (for JSON). */
  readonly align: 'left' | 'right';
}

/**
 * Puts a field of data, that a call has written, into a register: little endian, without sign. With `mask` only those bits; with `equals`
 * 1 when the (masked) field is that, else 0: for jumps on what kind of file there is.
 */
export interface LoadStep extends Common {
  readonly op: 'load';
  readonly from: Struct;
  readonly at: number;
  readonly size: 1 | 2 | 4 | 8;
  readonly mask?: number | bigint;
  readonly equals?: number | bigint;
  readonly result: Register;
}

/** Fails with `error` (an errno name) unless a field of data, masked, is `equals`: the st_rdev of /dev/null, the f_type of procfs. */
export interface ExpectStep extends Common {
  readonly op: 'expect';
  readonly from: Struct;
  readonly at: number;
  readonly size: 1 | 2 | 4 | 8;
  readonly mask?: number | bigint;
  readonly equals: number | bigint;
  readonly error: string;
}

/** Sends a descriptor over a connected Unix socket (SCM_RIGHTS) with a payload of at least one byte. */
export interface SendDescriptorStep extends Common {
  readonly op: 'send-descriptor';
  readonly socket: Register;
  readonly descriptor: Register;
  readonly payload: Data;
}

/**
 * Runs a program and waits for it: an OCI hook. It has no descriptors but 0 to 2; the end of what it prints goes into the
 * error. Its stdin is `input`; a timeout or a status other than 0 fails the step.
 */
export interface HookStep extends Common {
  readonly op: 'hook';
  readonly path: string;
  readonly argv: readonly string[];
  readonly environment: readonly string[];
  readonly input: Struct;
  readonly timeoutSeconds?: number;
  /** A descriptor that is told of a failure as well, as a line of text, where the engine has left. */
  readonly tell?: Register;
}

/**
 * Becomes the container's program: tries each candidate path with execve(2). ENOENT and ENOTDIR try the next; of the failures, EACCES wins
 * over ENOENT. Fails with exit status 127 for ENOENT and 126 for all else.
 */
export interface ExecStep extends Common {
  readonly op: 'exec';
  readonly candidates: readonly string[];
  readonly argv: readonly string[];
  readonly environment: readonly string[];
}

/**
 * Stays until a child ends: passes signals on, reaps every other child (`reap`), tells the engine the wait status with `tag`, and exits as
 * the child did (128 + n for a signal). With `result` the wait status goes there instead, and the program goes on, with signals blocked: an
 * {@link EndStep} tells it then.
 */
export interface SuperviseStep extends Common {
  readonly op: 'supervise';
  readonly child: Register;
  readonly reap: boolean;
  readonly tag: number;
  readonly result?: Register;
}

/**
 * Tells the engine a wait status with `tag`, and exits as the child did. Where a resident engine has the last word it is waited for, unless
 * this program has done all that there was to do (`alone`).
 */
export interface EndStep extends Common {
  readonly op: 'end';
  readonly status: Register;
  readonly tag: number;
  readonly alone: boolean;
}

/** Ends this process. */
export interface ExitStep extends Common {
  readonly op: 'exit';
  readonly status: number;
}

export type Step =
  | CallStep
  | CloneStep
  | JumpStep
  | LabelStep
  | SendStep
  | ReceiveStep
  | EnsureStep
  | CopyStep
  | DecimalStep
  | LoadStep
  | ExpectStep
  | SendDescriptorStep
  | HookStep
  | ExecStep
  | SuperviseStep
  | EndStep
  | ExitStep;

/** What one process of the launch does. */
export interface Program {
  /** `launcher`, `init`, `exec`: also the name in messages. */
  readonly name: string;
  readonly steps: readonly Step[];
}

/** A whole launch. The launcher runs `programs[0]`; the others are the children of clone steps. */
export interface Plan {
  readonly programs: readonly Program[];
  /** Descriptors that the launcher is started with, by register: its control socket and whatever the caller hands over. */
  readonly inherited: Readonly<Record<Register, number>>;
}
