import { expect, test } from 'vitest';
import { commandName } from './command-name.js';

test.each([
  [['boot', '--run', 'x'], 'boot'],
  [['--debug', 'boot'], 'boot'],
  [['--log-level', 'info', 'lab', '--', 'boot'], 'lab'],
  [['--log-level=info', 'doctor'], 'doctor'],
  [['help', 'boot'], 'boot'],
  [['help'], undefined],
  [['--version'], undefined],
  [[], undefined],
  [['--log-level'], undefined],
])('the command of %j is %s', (args, name) => {
  expect(commandName(args)).toBe(name);
});
