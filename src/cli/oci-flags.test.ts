import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Flag, milliseconds, parseFlags } from './oci-flags.js';
import { COMMANDS, findCommand, GLOBAL_FLAGS } from './oci-table.js';

const FLAGS: readonly Flag[] = [
  { name: 'force', short: 'f', kind: 'boolean', help: '' },
  { name: 'bundle', short: 'b', kind: 'text', help: '' },
  { name: 'env', short: 'e', kind: 'list', help: '' },
  { name: 'preserve-fds', kind: 'integer', help: '' },
];

test.each([
  [['--bundle', '/b', 'id']],
  [['--bundle=/b', 'id']],
  [['-bundle', '/b', 'id']],
  [['-b', '/b', 'id']],
  [['-b=/b', 'id']],
  [['id', '--bundle', '/b']],
])('%j gives the bundle and the id', (line) => {
  const { values, args } = parseFlags(FLAGS, line);
  expect(values.text('bundle')).toBe('/b');
  expect(args).toEqual(['id']);
});

test('a value may look like a flag, be empty, and hold equals signs', () => {
  const { values } = parseFlags(FLAGS, ['--bundle', '--force', '--env', '', '-e', 'A=B=C']);
  expect(values.text('bundle')).toBe('--force');
  expect(values.flag('force')).toBe(false);
  expect(values.list('env')).toEqual(['', 'A=B=C']);
});

test('what follows so many arguments is passed on as it is', () => {
  const { values, args } = parseFlags(FLAGS, ['-f', 'id', 'ls', '-f', '--', '--nonsense'], {
    stopAfterArguments: 1,
  });
  expect(values.flag('force')).toBe(true);
  expect(args).toEqual(['id', 'ls', '-f', '--', '--nonsense']);
});

test('flags end at --, and a lone dash is an argument', () => {
  expect(parseFlags(FLAGS, ['-', '--', '--force']).args).toEqual(['-', '--force']);
});

test('the last of several values counts', () => {
  expect(parseFlags(FLAGS, ['-b', '1', '-b', '2']).values.text('bundle')).toBe('2');
  expect(parseFlags(FLAGS, ['--force', '--force=false']).values.flag('force')).toBe(false);
});

test.each([
  [['--nonsense'], 'flag provided but not defined: -nonsense'],
  [['-x'], 'flag provided but not defined: -x'],
  [['--bundle'], 'flag needs an argument: -bundle'],
  [['--force=maybe'], 'true or false is expected'],
  [['--preserve-fds', 'two'], 'a whole number is expected'],
  [['--bundle', 'a\0b'], 'NUL'],
])('%j is refused', (line, message) => {
  expect(() => parseFlags(FLAGS, line)).toThrow(message);
});

test('whatever the words, they are parsed or refused with a sentence', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 12 })), (line) => {
      try {
        const { args } = parseFlags(FLAGS, line);
        return args.every((arg) => line.includes(arg));
      } catch (error) {
        return error instanceof Error && error.name === 'UsageError';
      }
    }),
  );
});

test.each([
  ['5s', 5000],
  ['1m30s', 90_000],
  ['500ms', 500],
  ['1.5s', 1500],
  ['0', 0],
  ['-1s', -1000],
  ['5', undefined],
  ['', undefined],
  ['s', undefined],
])('the duration %j is %j milliseconds', (text, expected) => {
  expect(milliseconds(text)).toBe(expected);
});

test('the global flags that containerd’s shim passes are known, and end at the command', () => {
  const line = [
    '--root',
    '/r',
    '--log',
    '/l',
    '--log-format',
    'json',
    '--systemd-cgroup',
    'create',
    '--bundle',
    '/b',
  ];
  const { values, args } = parseFlags(GLOBAL_FLAGS, line, { stopAfterArguments: 1 });
  expect([values.text('root'), values.text('log-format'), values.flag('systemd-cgroup')]).toEqual([
    '/r',
    'json',
    true,
  ]);
  expect(args).toEqual(['create', '--bundle', '/b']);
});

test.each([
  'create --bundle /b --pid-file /p --console-socket /c --no-pivot --no-new-keyring --preserve-fds 2 id',
  'exec --pid-file /p --process /f --detach --tty --console-socket /c id',
  'exec --process /f --console-socket /c --detach --pid-file /p --ignore-paused id',
  'kill --all id 9',
  'delete --force id',
  'ps --format json id',
  'events --stats id',
  'events --interval 5s id',
  'update --resources - id',
  'list --format=json',
  'run --no-subreaper --keep --detach id',
  'checkpoint --image-path /i --work-path /w --leave-running id',
  'restore --image-path /i --bundle /b --pid-file /p --detach --no-pivot id',
])('clients’ %j is understood', (line) => {
  const [name = '', ...words] = line.split(' ');
  const command = findCommand(name);
  if (command === undefined) throw new Error(`no command ${name}`);
  const { args } = parseFlags(command.flags, words, {
    ...(command.stopAfterArguments === undefined ? {} : { stopAfterArguments: command.stopAfterArguments }),
  });
  expect(args.length).toBeGreaterThanOrEqual(command.min);
  expect(args.length).toBeLessThanOrEqual(command.max);
});

test('no two flags of a command share a name', () => {
  for (const { name, flags } of COMMANDS) {
    const names = flags.flatMap((flag) => [flag.name, ...(flag.short === undefined ? [] : [flag.short])]);
    expect([name, new Set(names).size]).toEqual([name, names.length]);
  }
});
