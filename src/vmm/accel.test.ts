import { expect, test } from 'vitest';
import { hardwareExtension, judgeKvm, kvmUsability } from './accel.js';

test('the extension is read from the flags line as whole words', () => {
  expect(hardwareExtension('model name\t: x\nflags\t\t: fpu vme svm lm\n')).toBe('AMD-V');
  expect(hardwareExtension('flags\t\t: fpu vmx lm\nbugs\t: svm\n')).toBe('VT-x');
  expect(hardwareExtension('flags\t\t: fpu svm_lock vmx2\nmodel name\t: vmx svm\n')).toBe('none');
  expect(hardwareExtension('')).toBe('none');
});

test('a device that opens on a processor with an extension is usable', () => {
  expect(judgeKvm('AMD-V', undefined)).toMatchObject({ usable: true, software: false });
});

test('a device that opens on a processor without an extension is a software KVM and not usable', () => {
  const verdict = judgeKvm('none', undefined);
  expect(verdict).toMatchObject({ usable: false, software: true });
  expect(verdict.reason).toContain('neither vmx nor svm');
});

test.each([
  ['ENOENT', 'no /dev/kvm'],
  ['EACCES', 'may not open'],
  ['EBUSY', 'EBUSY'],
])('%s from the device makes it unusable and is told apart in the reason', (code, words) => {
  const verdict = judgeKvm('VT-x', code);
  expect(verdict).toMatchObject({ usable: false, software: false });
  expect(verdict.reason).toContain(words);
});

test('a device that is not there is a verdict, never an exception', () => {
  expect(kvmUsability('/nonexistent/kvm').usable).toBe(false);
});
