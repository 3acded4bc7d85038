import { describe, expect, it } from 'vitest';
import { NO_OPTIONS } from '../options/options.js';
import { healthCheckOf } from './check.js';
import { advance, type Health, type Probe } from './health.js';

const image = {
  healthcheck: {
    test: ['CMD', '/check', 'me'],
    interval: 7000,
    timeout: 0,
    retries: 0,
    startPeriod: 0,
    startInterval: 0,
  },
};

describe('the health check of a container', () => {
  it('is the image’s, with docker’s defaults for what it leaves open', () => {
    expect(healthCheckOf(NO_OPTIONS, image)).toEqual({
      command: ['/check', 'me'],
      interval: 7000,
      timeout: 30_000,
      retries: 3,
      startPeriod: 0,
      startInterval: 5000,
      onFailure: 'none',
    });
  });

  it('is a line for the image’s shell, or for sh', () => {
    const options = { ...NO_OPTIONS, healthCmd: 'test -e /ok', healthInterval: -1 };
    expect(healthCheckOf(options, {})).toMatchObject({
      command: ['/bin/sh', '-c', 'test -e /ok'],
      interval: -1,
    });
    expect(healthCheckOf(options, { shell: ['/bin/ash', '-ec'] })?.command).toEqual([
      '/bin/ash',
      '-ec',
      'test -e /ok',
    ]);
  });

  it.each([
    ['["CMD", "a", "b c"]', ['a', 'b c']],
    ['["a", "b"]', ['a', 'b']],
    ['["CMD-SHELL", "a b"]', ['/bin/sh', '-c', 'a b']],
    ['[ -e /ok ]', ['/bin/sh', '-c', '[ -e /ok ]']],
  ])('takes %s', (healthCmd, command) => {
    expect(healthCheckOf({ ...NO_OPTIONS, healthCmd }, image)?.command).toEqual(command);
  });

  it.each([{ healthCmd: 'none' }, { healthCmd: '["NONE"]' }, { noHealthcheck: true }])(
    'is left out by %j',
    (options) => {
      expect(healthCheckOf({ ...NO_OPTIONS, ...options }, image)).toBeUndefined();
    },
  );

  it.each([
    [{ healthCmd: ' ' }, 'is no command'],
    [{ healthCmd: '[]' }, 'is no list of words'],
    [{ healthCmd: '["CMD", 1]' }, 'is no list of words'],
    [{ healthCmd: '["CMD-SHELL", "a", "b"]' }, 'is no check'],
    [{ healthCmd: '["CMD", ""]' }, 'is no check'],
    [{ healthCmd: 'a\0b' }, 'NUL'],
    [{ healthCmd: 'true', healthRetries: -1 }, 'out of range'],
    [{ healthCmd: 'true', healthTimeout: 1e300 }, 'out of range'],
    [{ healthCmd: 'true', healthOnFailure: 'restart' }, 'none, kill or stop'],
    [{ healthCmd: 'true', noHealthcheck: true }, 'cannot be combined'],
  ])('refuses %j', (options, problem) => {
    expect(() => healthCheckOf({ ...NO_OPTIONS, ...options }, image)).toThrow(problem);
  });

  it('refuses details of a check that there is not', () => {
    expect(() => healthCheckOf({ ...NO_OPTIONS, healthRetries: 2 }, {})).toThrow('there is no check');
  });

  it('refuses an image’s check that is none', () => {
    const odd = { healthcheck: { ...image.healthcheck, test: ['RUN', 'x'] } };
    expect(() => healthCheckOf(NO_OPTIONS, odd)).toThrow('HEALTHCHECK');
  });
});

describe('the health of a container', () => {
  const check = {
    command: ['x'],
    interval: 1,
    timeout: 1,
    retries: 2,
    startPeriod: 10_000,
    startInterval: 1,
  };
  const started = '2026-01-01T00:00:00.000Z';
  const probe = (second: number, exitCode: number): Probe => {
    const at = new Date(Date.parse(started) + second * 1000).toISOString();
    return { start: at, end: at, exitCode, output: '' };
  };
  const healthAfter = (...probes: Probe[]): Health =>
    probes.reduce<Health>((health, one) => advance(health, one, { ...check, onFailure: 'none' }, started), {
      status: 'starting',
      failingStreak: 0,
      log: [],
    });

  it('stays starting while failures do not count', () => {
    expect(healthAfter(probe(1, 1), probe(2, 1), probe(9, -1))).toMatchObject({
      status: 'starting',
      failingStreak: 0,
    });
  });

  it('counts failures of the start period once it was healthy', () => {
    expect(healthAfter(probe(1, 0), probe(2, 1))).toMatchObject({ status: 'healthy', failingStreak: 1 });
    expect(healthAfter(probe(1, 0), probe(2, 1), probe(3, 1)).status).toBe('unhealthy');
  });

  it('is unhealthy after so many failures in a row, and healthy after one good check', () => {
    expect(healthAfter(probe(11, 1)).status).toBe('starting');
    expect(healthAfter(probe(11, 1), probe(12, 1)).status).toBe('unhealthy');
    expect(healthAfter(probe(11, 1), probe(12, 1), probe(13, 0))).toMatchObject({
      status: 'healthy',
      failingStreak: 0,
    });
  });

  it('keeps the last five checks', () => {
    const { log } = healthAfter(...Array.from({ length: 9 }, (_, i) => probe(i, i)));
    expect(log.map(({ exitCode }) => exitCode)).toEqual([4, 5, 6, 7, 8]);
  });
});
