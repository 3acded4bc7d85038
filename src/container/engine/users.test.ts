import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resolveUser } from './users.js';

const PASSWD = 'root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100::/home/alice:\nbroken\n77:x:5:5::relative:\n';
const GROUP = 'root:x:0:\nusers:x:100:\nstaff:x:50:bob,alice\nwheel:x:10:alice\n';
const resolve = (user: string, groups: readonly string[] = []) => resolveUser(user, groups, PASSWD, GROUP);

describe('--user', () => {
  it('is a name with its group, its groups and its home', () => {
    expect(resolve('alice')).toEqual({ uid: 1000, gid: 100, additionalGids: [10, 50], home: '/home/alice' });
  });

  it('is a number whose entry is used where there is one', () => {
    expect(resolve('1000')).toMatchObject({ uid: 1000, gid: 100, home: '/home/alice' });
    expect(resolve('4242')).toEqual({ uid: 4242, gid: 0, additionalGids: [], home: '/' });
  });

  it('takes a name of digits for a name', () => {
    expect(resolve('77').uid).toBe(5);
  });

  it('takes a group instead of the user’s own', () => {
    expect(resolve('alice:staff')).toMatchObject({ gid: 50, additionalGids: [] });
    expect(resolve('1:2')).toMatchObject({ uid: 1, gid: 2 });
  });

  it('takes additional groups by name and number', () => {
    expect(resolve('0', ['wheel', '7']).additionalGids).toEqual([7, 10]);
  });

  it('is refused for names that the files do not have', () => {
    expect(() => resolve('mallory')).toThrow('no user "mallory"');
    expect(() => resolve('alice:none')).toThrow('no group "none"');
    expect(() => resolve('4294967295')).toThrow('no user');
    expect(() => resolve('a:b:c')).toThrow('is not USER[:GROUP]');
  });

  it('gives ids that exist, whatever the files hold', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (passwd, group) => {
        const { uid, gid, additionalGids, home } = resolveUser('0', [], passwd, group);
        for (const id of [uid, gid, ...additionalGids]) expect(id >= 0 && id <= 2 ** 32 - 2).toBe(true);
        expect(home.startsWith('/')).toBe(true);
      }),
    );
  });
});
