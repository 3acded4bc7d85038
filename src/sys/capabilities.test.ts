import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { capabilitySets } from './capabilities.js';

test('the sets are those of /proc/PID/status', () => {
  const [effective = 0, permitted = 0, inheritable = 0, ...high] = capabilitySets(process.pid);
  const status = readFileSync('/proc/self/status', 'utf8');
  const told = (name: string) => BigInt(`0x${new RegExp(`^${name}:\\t(.*)$`, 'm').exec(status)?.[1]}`);
  const whole = (low: number, index: number) => BigInt(low) | (BigInt(high[index] ?? 0) << 32n);
  expect([whole(effective, 0), whole(permitted, 1), whole(inheritable, 2)]).toEqual([
    told('CapEff'),
    told('CapPrm'),
    told('CapInh'),
  ]);
});

test('a process that is not there is told', () => {
  expect(() => capabilitySets(2 ** 30)).toThrow(/capget.*ESRCH/);
});
