import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ContainerRecordError } from './errors.js';
import { type ContainerRecord, parseRecord, recordText } from './record.js';

const RECORD: ContainerRecord = {
  ociVersion: '1.2.0',
  id: 'web',
  bundle: '/b',
  rootfs: '/b/rootfs',
  created: '2026-01-02T03:04:05.000Z',
  annotations: { a: 'b' },
  phase: 'created',
  init: { pid: 7, startTime: '123', boot: 'b0' },
  hooks: { poststop: [{ path: '/hook', args: ['hook', ''], timeout: 3 }] },
  ownPidNamespace: true,
  hasProcess: true,
  newKeyring: false,
};

test('a record comes back as it was written', () => {
  expect(parseRecord(recordText(RECORD), '/f')).toEqual(RECORD);
});

test.each([
  ['', 'is not JSON'],
  ['{"tvmmRecord":1', 'is not JSON'],
  ['null', 'not written by this version'],
  ['{"tvmmRecord":2}', 'not written by this version'],
  ['{"tvmmRecord":1}', 'is damaged'],
  [recordText({ ...RECORD, bundle: 'relative' }), 'bundle must be an absolute path'],
  [recordText(RECORD).replace('"pid":7', '"pid":-1'), 'init.pid'],
])('%j is refused with the file’s name', (text, message) => {
  const read = () => parseRecord(text, '/state/web/state.json');
  expect(read).toThrow(message);
  expect(read).toThrow('/state/web/state.json');
});

test('a cgroup that is not below its mount is refused: delete would remove it', () => {
  const cgroup = { v1: { cpu: { folder: '/etc/x', mountPoint: '/sys/fs/cgroup' } }, made: ['/etc/x'] };
  expect(() => parseRecord(recordText({ ...RECORD, cgroup }), '/f')).toThrow('not below a cgroup mount');
});

test('whatever stands in the file, it is a record or refused', () => {
  const original: unknown = JSON.parse(recordText(RECORD));
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(RECORD)), fc.jsonValue(), (member, value) => {
      const text = JSON.stringify({ ...(typeof original === 'object' ? original : {}), [member]: value });
      try {
        parseRecord(text, '/f');
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        if (member !== 'cgroup') expect(error).toBeInstanceOf(ContainerRecordError);
      }
    }),
  );
});
