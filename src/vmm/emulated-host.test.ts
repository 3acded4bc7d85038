import { describe, expect, test } from 'vitest';
import { soundAffinity } from './emulated-host.js';

const TCG = 'processor\t: 0\nmodel name\t: QEMU TCG CPU version 2.5+\n';
const STATUS = 'Name:\tnode\nCpus_allowed_list:\t0-3\n';

describe('the CPUs for several vCPUs', () => {
  test('are all of a real processor', () => {
    expect(
      soundAffinity({ cpuinfo: 'model name\t: AMD EPYC\n', productVersion: 'pc-q35-7.2\n', status: STATUS }),
    ).toBeUndefined();
  });

  test('are one, the last, of a processor that QEMU before 8.1 emulates', () => {
    expect(soundAffinity({ cpuinfo: TCG, productVersion: 'pc-q35-7.2\n', status: STATUS })).toEqual([3]);
    expect(soundAffinity({ cpuinfo: TCG, productVersion: 'pc-q35-8.0\n', status: STATUS })).toEqual([3]);
  });

  test('are all where QEMU is sound', () => {
    for (const productVersion of ['pc-q35-8.1', 'pc-i440fx-9.2', 'pc-q35-10.0']) {
      expect(soundAffinity({ cpuinfo: TCG, productVersion, status: STATUS })).toBeUndefined();
    }
  });

  test('are one where QEMU does not say its version', () => {
    expect(soundAffinity({ cpuinfo: TCG, productVersion: '', status: STATUS })).toEqual([3]);
  });

  test('stay as they are where this process has but one', () => {
    const status = STATUS.replace('0-3', '2');
    expect(soundAffinity({ cpuinfo: TCG, productVersion: 'pc-q35-7.2', status })).toBeUndefined();
  });
});
