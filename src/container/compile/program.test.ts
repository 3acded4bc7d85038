import { describe, expect, it } from 'vitest';
import { splitOptions } from './filesystems.js';
import { makedev } from './numbers.js';
import { candidatesOf, environmentOf } from './program.js';
import { destinationPath } from './targets.js';
import { minimal } from './testing/fixtures.js';

describe('where the program is looked for', () => {
  it('goes through PATH in its order, each folder once, the empty one being the working directory', () => {
    expect(candidatesOf('sh', ['PATH=/usr/bin:/bin::/usr/bin/'])).toEqual([
      '/usr/bin/sh',
      '/bin/sh',
      './sh',
      '/usr/bin/sh',
    ]);
    expect(candidatesOf('sh', ['PATH=/bin:/bin'])).toEqual(['/bin/sh']);
  });

  it('takes a name with a slash as it is, and a default where PATH is missing', () => {
    expect(candidatesOf('./run', ['PATH=/bin'])).toEqual(['./run']);
    expect(candidatesOf('sh', []).at(-1)).toBe('/bin/sh');
  });
});

describe('the environment', () => {
  const environment = (env: readonly string[], added: readonly string[] = [], home?: string) => {
    const { process } = minimal({}, {}, { env });
    if (process === undefined) throw new Error('the fixture has a process');
    return environmentOf(process, added, home);
  };

  it('lets the last of two win, and adds a HOME', () => {
    expect(environment(['A=1', 'B=2', 'A=3'], ['LISTEN_FDS=1'], '/home/x')).toEqual([
      'A=3',
      'B=2',
      'LISTEN_FDS=1',
      'HOME=/home/x',
    ]);
    expect(environment([])).toEqual(['HOME=/']);
    expect(environment(['HOME=/root'], [], '/home/x')).toEqual(['HOME=/root']);
  });
});

describe('small things', () => {
  it('part options at commas, but not inside of quotes', () => {
    expect(splitOptions(['mode=755,size=1m', 'context="a:s0:c1,c2"', 'x'])).toEqual([
      'mode=755',
      'size=1m',
      'context="a:s0:c1,c2"',
      'x',
    ]);
  });

  it('numbers devices as mknod(2) does', () => {
    expect(makedev(1, 3)).toBe(0x103);
    expect(makedev(136, 300)).toBe(0x10882c);
  });

  it('cleans destinations, relative ones from the root', () => {
    expect(['a', '/a//b/./c/', '../x', '/a/../b'].map(destinationPath)).toEqual(['/a', '/a/b/c', '/x', '/b']);
  });
});
