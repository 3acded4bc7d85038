/**
 * Looks system calls up by name: the number in each ABI of an x86-64 kernel, and the two calls of i386 that carry others inside them,
 * socketcall(2) and ipc(2). Knows nothing of profiles. Other machines' calls are unknown here, and so ignored by who asks.
 */
import { SYSCALL_TABLE } from './syscall-table.js';

/** The bit that makes a number one of x32 (asm/unistd.h, `__X32_SYSCALL_BIT`). */
export const X32_SYSCALL_BIT = 0x40000000;

/** The ABIs of an x86-64 kernel, in the order of the table's columns. */
export const ABIS = ['x86_64', 'i386', 'x32'] as const;
export type Abi = (typeof ABIS)[number];

/** A call's numbers; undefined where the ABI lacks it. x32 with its bit 30. */
export type SyscallNumbers = Readonly<Record<Abi, number | undefined>>;

/** One call inside a multiplexer of i386: the multiplexer's name and the value of its first argument. */
export interface Multiplexed {
  readonly by: 'socketcall' | 'ipc';
  readonly code: number;
}

/** linux/net.h: SYS_SOCKET is 1, and so on. */
const SOCKETCALLS = [
  'socket',
  'bind',
  'connect',
  'listen',
  'accept',
  'getsockname',
  'getpeername',
  'socketpair',
  'send',
  'recv',
  'sendto',
  'recvfrom',
  'shutdown',
  'setsockopt',
  'getsockopt',
  'sendmsg',
  'recvmsg',
  'accept4',
  'recvmmsg',
  'sendmmsg',
];

/** linux/ipc.h: SEMOP is 1, and so on. The kernel takes the low 16 bits of the argument; above stands a version. */
const IPC_CALLS: Readonly<Record<string, number>> = {
  semop: 1,
  semget: 2,
  semctl: 3,
  semtimedop: 4,
  msgsnd: 11,
  msgrcv: 12,
  msgget: 13,
  msgctl: 14,
  shmat: 21,
  shmdt: 22,
  shmget: 23,
  shmctl: 24,
};

/** The part of ipc(2)'s first argument that chooses the call. */
export const IPC_CODE_MASK = 0xffff;

const multiplexed = new Map<string, Multiplexed>([
  ...SOCKETCALLS.map((name, index): [string, Multiplexed] => [name, { by: 'socketcall', code: index + 1 }]),
  ...Object.entries(IPC_CALLS).map(([name, code]): [string, Multiplexed] => [name, { by: 'ipc', code }]),
]);

/** The calls that i386 reaches through a multiplexer, by name. */
export function multiplexedCalls(): ReadonlyMap<string, Multiplexed> {
  return multiplexed;
}

function column(text: string | undefined, bit = 0): number | undefined {
  return text === undefined || text === '-' ? undefined : Number(text) + bit;
}

let table: Map<string, SyscallNumbers> | undefined;

/** All calls by name. Parsed once, at first use. */
export function syscallTable(): ReadonlyMap<string, SyscallNumbers> {
  if (table !== undefined) return table;
  table = new Map();
  for (const line of SYSCALL_TABLE.trim().split('\n')) {
    const [name = '', x64, i386, x32] = line.split(' ');
    table.set(name, { x86_64: column(x64), i386: column(i386), x32: column(x32, X32_SYSCALL_BIT) });
  }
  return table;
}

/** Whether any ABI of this machine has a call of that name, be it inside a multiplexer. */
export function isSyscall(name: string): boolean {
  return syscallTable().has(name) || multiplexed.has(name);
}
