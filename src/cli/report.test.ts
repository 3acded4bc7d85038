import { expect, test } from 'vitest';
import { TvmmError } from '../sys/errors.js';
import { failureText } from './report.js';

test('a known failure is its sentence and its hint, without a stack', () => {
  const error = new TvmmError('the kernel x does not exist', { code: 'X', hint: 'check the path' });
  expect(failureText(error, false)).toBe('tvmm: the kernel x does not exist\nhint: check the path\n');
});

test('--debug adds the stack and the cause', () => {
  const error = new TvmmError('it broke', { code: 'X', cause: new Error('the reason beneath') });
  expect(failureText(error, true)).toMatch(/report\.test/);
  expect(failureText(error, true)).toContain('the reason beneath');
});

test.each([
  [new TypeError('x is undefined'), 'x is undefined'],
  ['text', 'text'],
  [undefined, 'undefined'],
  [null, 'null'],
])('anything else that is thrown (%s) is an internal error and gives text', (thrown, words) => {
  expect(failureText(thrown, false)).toContain(`tvmm: internal error: ${words}`);
});

test('nothing in a message steers the terminal', () => {
  const error = new TvmmError('bad \u001b[2J name\u009b\u202e\nand more', { code: 'X', hint: 'look\u0007' });
  expect(failureText(error, false)).toBe(
    'tvmm: bad \\x1b[2J name\\x9b\\u{202e}\nand more\nhint: look\\x07\n',
  );
});

test('a machine that gives out is no defect of ours', () => {
  const error = Object.assign(new Error("ENOSPC: no space left on device, open '/x/y'"), {
    code: 'ENOSPC',
    syscall: 'open',
  });
  expect(failureText(error, false)).toMatch(/^tvmm: the disk is full: .*\/x\/y'\nhint: Make room/);
  expect(failureText(new TvmmError('cannot write /x', { code: 'ENOSPC', cause: error }), false)).toMatch(
    /^tvmm: cannot write \/x\nhint: Make room/,
  );
});
