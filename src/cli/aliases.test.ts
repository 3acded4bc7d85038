import { expect, it } from 'vitest';
import { withoutAliases } from './aliases.js';

it.each([
  ['images -a', 'image ls -a'],
  ['--debug pull debian', '--debug image pull debian'],
  ['--log-level info info', '--log-level info system info'],
  ['container ls -aq', 'ps -aq'],
  ['container start web', 'start web'],
  ['container prune -f', 'container prune -f'],
  ['container --help', 'container --help'],
  ['system events --since 1h', 'events --since 1h'],
  ['system df', 'system df'],
  ['run images', 'run images'],
  ['exec web pull', 'exec web pull'],
  ['constructor', 'constructor'],
  ['', ''],
])('%j is %j', (given, ours) => {
  const words = (line: string) => line.split(' ').filter((word) => word !== '');
  expect(withoutAliases(words(given))).toEqual(words(ours));
});
