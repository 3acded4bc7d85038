import { constants } from 'node:os';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CAPABILITIES, capabilityNames, capabilityNumber, capabilitySet } from './capabilities.js';
import { MOUNT_ATTR, MOUNT_OPTION_NAMES, MS, parseMountOptions } from './mount-options.js';
import { bitMask, parseNumberList } from './policies.js';
import { SIGNALS, signalName, signalNumber } from './signals.js';

describe('capabilities', () => {
  it('have the numbers of linux/capability.h', () => {
    expect(CAPABILITIES).toHaveLength(41);
    expect(capabilityNumber('CAP_CHOWN')).toBe(0);
    expect(capabilityNumber('CAP_SYS_ADMIN')).toBe(21);
    expect(capabilityNumber('CAP_SETFCAP')).toBe(31);
    expect(capabilityNumber('CAP_CHECKPOINT_RESTORE')).toBe(40);
  });

  it('become bits and names again, unknown ones told apart', () => {
    const unknown: string[] = [];
    const set = capabilitySet(['CAP_KILL', 'CAP_FLY', 'CAP_BPF', 'chown'], (name) => unknown.push(name));
    expect(set).toBe((1n << 5n) | (1n << 39n));
    expect(unknown).toEqual(['CAP_FLY', 'chown']);
    expect(capabilityNames(set | (1n << 41n))).toEqual(['CAP_KILL', 'CAP_BPF', 'cap_41']);
  });
});

describe('mount options', () => {
  it('has every option that the specification names', () => {
    const names =
      'async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec noiversion nolazytime ' +
      'nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodiratime ' +
      'rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow ' +
      'runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap rnodev';
    const known = new Set(MOUNT_OPTION_NAMES);
    expect(names.split(' ').filter((name) => !known.has(name))).toEqual([]);
  });

  it('lets the later option win', () => {
    expect(parseMountOptions(['ro', 'rw'])).toMatchObject({
      flags: 0,
      attributes: { set: 0, clear: MOUNT_ATTR.RDONLY },
    });
    expect(parseMountOptions(['rw', 'ro'])).toMatchObject({
      flags: MS.RDONLY,
      attributes: { set: MOUNT_ATTR.RDONLY, clear: 0 },
    });
    expect(parseMountOptions(['nosuid', 'suid', 'noexec']).attributes).toEqual({
      set: MOUNT_ATTR.NOEXEC,
      clear: MOUNT_ATTR.NOSUID,
    });
  });

  it('clears the access time as a field, as the kernel demands', () => {
    expect(parseMountOptions(['noatime']).attributes).toEqual({
      set: MOUNT_ATTR.NOATIME,
      clear: MOUNT_ATTR._ATIME,
    });
    expect(parseMountOptions(['noatime', 'strictatime']).attributes).toEqual({
      set: MOUNT_ATTR.STRICTATIME,
      clear: MOUNT_ATTR._ATIME,
    });
    expect(parseMountOptions(['rrelatime', 'rro']).recursive).toEqual({
      set: MOUNT_ATTR.RDONLY,
      clear: MOUNT_ATTR._ATIME,
    });
  });

  it('tells the special options, propagation and the data of the file system apart', () => {
    expect(
      parseMountOptions(['rbind', 'rslave', 'ridmap', 'size=1m', 'mode=755', 'private', '', 'sync']),
    ).toMatchObject({
      bind: 'recursive',
      idmap: 'recursive',
      propagation: [MS.SLAVE | MS.REC, MS.PRIVATE],
      data: ['size=1m', 'mode=755'],
      superblock: ['sync'],
      remount: false,
    });
    expect(parseMountOptions(['constructor', '__proto__']).data).toEqual(['constructor', '__proto__']);
  });

  it('never sets and clears one bit, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...MOUNT_OPTION_NAMES)), (options) => {
        const { attributes, recursive } = parseMountOptions(options);
        for (const { set, clear } of [attributes, recursive]) {
          expect(set & clear & ~MOUNT_ATTR._ATIME).toBe(0);
          const atime = clear & MOUNT_ATTR._ATIME;
          expect(atime === 0 ? set & MOUNT_ATTR._ATIME : 0).toBe(0);
          expect([0, MOUNT_ATTR._ATIME]).toContain(atime);
        }
      }),
    );
  });
});

describe('signals', () => {
  it.each([
    ['15', 15],
    ['TERM', 15],
    ['sigterm', 15],
    ['SIGRTMIN+3', 37],
    ['RTMAX-1', 63],
    ['0', 0],
  ])('reads %s', (text, number) => {
    expect(signalNumber(text)).toBe(number);
  });

  it.each(['', '65', '-1', 'TERMX', 'SIGRTMIN-1', 'RTMAX+1', '1e1', 'constructor'])('refuses %j', (text) => {
    expect(signalNumber(text)).toBeUndefined();
  });

  it('names what it reads', () => {
    expect([9, 34, 37].map(signalName)).toEqual(['SIGKILL', 'SIGRTMIN', 'SIGRTMIN+3']);
    expect(SIGNALS).toEqual(constants.signals);
  });
});

describe('lists of numbers', () => {
  it('are read as cpuset(7) writes them', () => {
    expect(parseNumberList('0-3,7')).toEqual([0, 1, 2, 3, 7]);
    expect(parseNumberList(' 5 , 1 - 2')).toEqual([1, 2, 5]);
    for (const list of ['', 'a', '3-1', '0-99999', ',', '1,,2', '-1'])
      expect(parseNumberList(list)).toBeUndefined();
  });

  it('become masks of whole longs', () => {
    expect([...bitMask([0, 9])]).toEqual([1, 2, 0, 0, 0, 0, 0, 0]);
    expect(bitMask([64])).toHaveLength(16);
  });
});
