/** Commands that are killed at one of their system calls, by strace(1): each by its name and the how-manieth of that name it is. */
import { readFileSync } from 'node:fs';

export interface TracedCall {
  readonly call: string;
  readonly nth: number;
}

/** The words before a command that write its calls of these names to a file. */
export function tracing(calls: string, file: string): string[] {
  return ['strace', '-qq', '-o', file, '-e', `trace=${calls.replaceAll(' ', ',')}`];
}

/** The calls in such a file, in their order. */
export function callsIn(file: string): TracedCall[] {
  const counts = new Map<string, number>();
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const call = /^(\w+)\(/.exec(line)?.[1];
      if (call === undefined) return [];
      const nth = (counts.get(call) ?? 0) + 1;
      counts.set(call, nth);
      return [{ call, nth }];
    });
}

/** The words before a command that kill it there. */
export function killingAt({ call, nth }: TracedCall): string[] {
  return [...tracing(call, '/dev/null'), '-e', `inject=${call}:signal=KILL:when=${nth}`];
}
