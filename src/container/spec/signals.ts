/** Signals by name or number, as `kill` and `org.opencontainers.image.stopSignal` write them (signal(7), x86-64). */
import { constants } from 'node:os';

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
  const signals: Readonly<Record<string, number>> = constants.signals;
  return Object.hasOwn(signals, `SIG${name}`) ? signals[`SIG${name}`] : undefined;
}

/** `SIGTERM` for 15; `SIGRTMIN+n` for real-time signals; the number's digits for what has no name. */
export function signalName(number: number): string {
  if (number >= SIGRTMIN && number <= SIGRTMAX)
    return number === SIGRTMIN ? 'SIGRTMIN' : `SIGRTMIN+${number - SIGRTMIN}`;
  const found = Object.entries(constants.signals).find(([, value]) => value === number);
  return found === undefined ? String(number) : found[0];
}
