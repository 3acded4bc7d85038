import { Command } from 'commander';
import { expect, test } from 'vitest';
import { parseDrive, register } from './boot.js';
import { UsageError } from './usage-error.js';

test.each([
  ['disk.img', { path: 'disk.img', readOnly: false }],
  ['disk.img,ro', { path: 'disk.img', readOnly: true }],
  ['disk.img,rw', { path: 'disk.img', readOnly: false }],
  ['/dev/vg0/data,id=data', { path: '/dev/vg0/data', readOnly: false, id: 'data' }],
  ['a b.img,ro,id=x-1.y_z', { path: 'a b.img', readOnly: true, id: 'x-1.y_z' }],
  ['a.img,id=x,ro', { path: 'a.img', readOnly: true, id: 'x' }],
])('the drive %s is understood', (text, drive) => {
  expect(parseDrive(text, '--drive')).toEqual(drive);
});

test.each([
  ['', /names no file/],
  [',ro', /names no file/],
  ['disk.img,', /unknown option ""/],
  ['disk.img,readonly', /unknown option "readonly"/],
  ['disk,1.img', /unknown option "1.img"/],
  ['disk.img,id=', /"" is no drive name/],
  ['disk.img,id=a/b', /"a\/b" is no drive name/],
  [`disk.img,id=${'x'.repeat(21)}`, /is no drive name/],
])('the drive "%s" is refused in one sentence that names the option', (text, message) => {
  expect(() => parseDrive(text, '--drive')).toThrow(UsageError);
  expect(() => parseDrive(text, '--drive')).toThrow(message);
  expect(() => parseDrive(text, '--drive')).toThrow(/--drive/);
});

/** Parses without running: the action's checks come before anything is opened. */
async function parse(...args: string[]): Promise<void> {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  register(program);
  for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => {} });
  await program.parseAsync(['boot', ...args], { from: 'user' });
}

test.each([
  [['--kernel', 'none'], /--kernel cannot be none/],
  [['--flat', 'real16'], /--flat needs --kernel/],
  [['--kernel', 'k', '--flat', 'real16', '--run', 'true'], /--run needs a Linux guest/],
  [['--cpus', '0'], /--cpus/],
  [['--cpus', 'many'], /--cpus/],
  [['--memory', 'lots'], /--memory/],
  [['--timeout', 'soon'], /--timeout/],
  [['--transport', 'isa'], /transport/],
  [['--flat-address', '-1'], /--flat-address/],
  [['--cpu-mask', 'avx9'], /avx9/],
  [['--rootfs', 'a,b'], /--rootfs/],
])('boot %j is refused before anything is opened', async (args, message) => {
  await expect(parse(...args)).rejects.toThrow(message);
});
