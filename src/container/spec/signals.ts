/** Signals by name or number, as `kill` and `org.opencontainers.image.stopSignal` write them (signal(7), x86-64). */

/** By name; the first name of a number is the one that is told. */
export const SIGNALS = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGIOT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSTKFLT: 16,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGPOLL: 29,
  SIGPWR: 30,
  SIGSYS: 31,
} as const satisfies Readonly<Record<string, number>>;

/** The real-time signals that programs may use: glibc keeps 32 and 33 for itself. */
const SIGRTMIN = 34;
const SIGRTMAX = 64;

/**
 * The number of a signal: `15`, `TERM`, `SIGTERM`, `sigterm`, `RTMIN+3`, `SIGRTMAX-1`; 0 asks only whether the process is there.
 * Undefined for anything else.
 */
export function signalNumber(text: string): number | undefined {
  if (/^[0-9]{1,2}$/.test(text)) {
    const number = Number(text);
    return number <= SIGRTMAX ? number : undefined;
  }
  const name = text.toUpperCase().replace(/^SIG/, '');
  const realTime = /^(RTMIN|RTMAX)(?:([+-])([0-9]{1,2}))?$/.exec(name);
  if (realTime !== null) {
    const [, base, sign = '+', offset = '0'] = realTime;
    const number = (base === 'RTMIN' ? SIGRTMIN : SIGRTMAX) + Number(offset) * (sign === '+' ? 1 : -1);
    return number >= SIGRTMIN && number <= SIGRTMAX ? number : undefined;
  }
  const signals: Readonly<Record<string, number>> = SIGNALS;
  return Object.hasOwn(signals, `SIG${name}`) ? signals[`SIG${name}`] : undefined;
}

/** `SIGTERM` for 15; `SIGRTMIN+n` for real-time signals; the number's digits for what has no name. */
export function signalName(number: number): string {
  if (number >= SIGRTMIN && number <= SIGRTMAX)
    return number === SIGRTMIN ? 'SIGRTMIN' : `SIGRTMIN+${number - SIGRTMIN}`;
  const found = Object.entries(SIGNALS).find(([, value]) => value === number);
  return found === undefined ? String(number) : found[0];
}
