import { expect, test } from 'vitest';
import { COMMANDS } from './commands.js';
import { ENGINE_COMMANDS } from './engine/table.js';
import { isEngineCommand, needsNamespaces } from './rootless.js';

test('the commands of the engine are told from the others by their names', () => {
  const names = COMMANDS.map(({ name }) => name).filter((name) => isEngineCommand(name));
  expect(names).toEqual(ENGINE_COMMANDS.map(({ name }) => name));
});

test.each([
  ['run', ['run', '--rootfs', '/', 'true'], 1000, true],
  ['run', ['run', '--rootfs', '/', 'true'], 0, false],
  ['run', ['run', '--help'], 1000, false],
  ['image', ['image', 'load', 'x.tar'], 1000, true],
  ['image', ['image', 'build'], 1000, false],
  ['image', ['image'], 1000, false],
  ['boot', ['boot'], 1000, false],
  ['doctor', ['doctor'], 1000, false],
  [undefined, [], 1000, false],
] as const)('%s of %j by user %i needs them: %s', (name, args, uid, needs) => {
  expect(needsNamespaces(name, args, uid)).toBe(needs);
});
