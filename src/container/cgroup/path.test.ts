import { posix } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CgroupPathError } from './errors.js';
import { expandSlice, folderInV1, folderInV2, resolveCgroupPath } from './path.js';

const resolve = (cgroupsPath?: string, more: object = {}) =>
  resolveCgroupPath({ id: 'web', cgroupsPath, ...more });

describe('cgroupsPath', () => {
  it('is the id where there is none', () => {
    expect(resolve()).toBe('web');
    expect(resolve('')).toBe('web');
  });

  it('stays absolute or relative, and is cleaned', () => {
    expect(resolve('/a//b/./c/')).toBe('/a/b/c');
    expect(resolve('a/b')).toBe('a/b');
  });

  it('cannot lead out with dots', () => {
    expect(resolve('/../../etc')).toBe('/etc');
    expect(resolve('../../../a')).toBe('a');
    expect(resolve('a/../../b')).toBe('b');
  });

  it.each(['/', '//', '/..', '.', 'a/..'])('%j is refused: it names the root', (path) => {
    expect(() => resolve(path)).toThrow(CgroupPathError);
  });

  it('refuses control characters and names that are too long', () => {
    expect(() => resolve('/a\nb')).toThrow('control characters');
    expect(() => resolve('/a\0b')).toThrow('control characters');
    expect(() => resolve(`/${'x'.repeat(256)}`)).toThrow('too long');
  });

  it('in systemd notation becomes the path that systemd would use', () => {
    expect(resolve('system.slice:tvmm:web')).toBe('/system.slice/tvmm-web.scope');
    expect(resolve('machine-pods.slice:cri:1')).toBe('/machine.slice/machine-pods.slice/cri-1.scope');
    expect(resolve(':docker:1')).toBe('/system.slice/docker-1.scope');
    expect(resolve('-.slice:a:b')).toBe('/a-b.scope');
    expect(resolve('a.slice::b')).toBe('/a.slice/b.scope');
    expect(resolve('a.slice:x:a-b.slice')).toBe('/a.slice/a-b.slice');
  });

  it('is a plain path with colons where cgroupfs is asked for', () => {
    expect(resolve('system.slice:tvmm:web', { manager: 'cgroupfs' })).toBe('system.slice:tvmm:web');
    expect(resolve('a:b:c')).toBe('a:b:c');
  });

  it('has a default under systemd, which is the user slice without root', () => {
    expect(resolve(undefined, { manager: 'systemd' })).toBe('/system.slice/tvmm-web.scope');
    expect(resolve(undefined, { manager: 'systemd', rootless: true })).toBe('/user.slice/tvmm-web.scope');
  });

  it.each(['/a/b', 'a:b', 'a:b:c:d', 'a.slice:b:', 'a.slice:../x:b'])(
    '%j is refused where systemd notation is asked for',
    (path) => {
      expect(() => resolve(path, { manager: 'systemd' })).toThrow(CgroupPathError);
    },
  );

  it.each(['a', 'a/b.slice', '-a.slice', 'a-.slice', 'a--b.slice', '.slice', ''])(
    '%j is no slice',
    (slice) => {
      expect(() => expandSlice(slice)).toThrow(CgroupPathError);
    },
  );

  it('never leads out of the mount point, whatever it is', () => {
    const place = { mountPoint: '/sys/fs/cgroup', own: '/user.slice/session-1.scope' };
    const part = fc.oneof(fc.constantFrom('..', '.', '', 'a', 'b.slice'), fc.string());
    const path = fc.oneof(
      fc.array(part).map((parts) => parts.join('/')),
      fc.array(part).map((parts) => parts.join(':')),
    );
    fc.assert(
      fc.property(path, fc.constantFrom('auto', 'systemd', 'cgroupfs'), (cgroupsPath, manager) => {
        let resolved: string;
        try {
          resolved = resolveCgroupPath({ id: 'x', cgroupsPath, manager });
        } catch (error) {
          expect(error).toBeInstanceOf(CgroupPathError);
          return;
        }
        for (const folder of [folderInV1(place, resolved), folderInV2(place, resolved)]) {
          expect(folder.startsWith('/sys/fs/cgroup/')).toBe(true);
          expect(posix.normalize(folder)).toBe(folder);
        }
      }),
    );
  });

  it('is below the own cgroup on v1 and beside it on v2, whose processes forbid controllers below', () => {
    const place = { mountPoint: '/m', own: '/user.slice/session-1.scope' };
    expect(folderInV1(place, 'web')).toBe('/m/user.slice/session-1.scope/web');
    expect(folderInV2(place, 'web')).toBe('/m/user.slice/web');
    expect(folderInV2({ mountPoint: '/m', own: '/' }, 'web')).toBe('/m/web');
    expect(folderInV2(place, '/web')).toBe('/m/web');
  });
});
