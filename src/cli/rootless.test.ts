import { expect, test } from 'vitest';
import { ENGINE_COMMANDS } from './engine/table.js';
import { ENGINE_NAMES, needsNamespaces } from './rootless.js';

test('every command of the engine runs in namespaces of its user', () => {
  expect([...ENGINE_NAMES].sort()).toEqual(ENGINE_COMMANDS.map(({ name }) => name).sort());
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
