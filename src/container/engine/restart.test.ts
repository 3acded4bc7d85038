import { describe, expect, it } from 'vitest';
import { parseRestartPolicy, restartPause, shouldRestart, wantsStartAtBoot } from './restart.js';

const ended = (exitCode: number, restarts = 0, stopRequested = false) => ({
  exitCode,
  restarts,
  stopRequested,
});

describe('the restart policy', () => {
  it('starts again always, unless the user stopped the container', () => {
    for (const text of ['always', 'unless-stopped']) {
      expect(shouldRestart(parseRestartPolicy(text), ended(0, 1000))).toBe(true);
      expect(shouldRestart(parseRestartPolicy(text), ended(1, 0, true))).toBe(false);
    }
  });

  it('starts at boot what ran, and with always what the user had stopped', () => {
    const at = (policy: string, run: ReturnType<typeof ended>) =>
      wantsStartAtBoot(parseRestartPolicy(policy), run);
    expect(at('always', ended(0, 0, true))).toBe(true);
    expect(at('unless-stopped', ended(0, 0, true))).toBe(false);
    expect(at('unless-stopped', ended(255))).toBe(true);
    expect(at('on-failure', ended(255))).toBe(true);
    expect(at('on-failure', ended(0))).toBe(false);
    expect(at('no', ended(255))).toBe(false);
  });

  it('starts again on failure as often as it says', () => {
    const policy = parseRestartPolicy('on-failure:2');
    expect(shouldRestart(policy, ended(0))).toBe(false);
    expect(shouldRestart(policy, ended(1, 1))).toBe(true);
    expect(shouldRestart(policy, ended(1, 2))).toBe(false);
    expect(shouldRestart(parseRestartPolicy('on-failure'), ended(137, 50))).toBe(true);
  });

  it('refuses what is no policy', () => {
    for (const text of ['', 'yes', 'always:3', 'on-failure:', 'on-failure:-1'])
      expect(() => parseRestartPolicy(text)).toThrow(/is no policy/);
  });

  it('waits twice as long each time, at most a minute, and begins anew after a long run', () => {
    expect([0, 1, 2, 30].map((n) => restartPause(n, 0))).toEqual([100, 200, 400, 60_000]);
    expect(restartPause(30, 10_000)).toBe(100);
  });
});
