import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { isStaticElf } from './busybox.js';
import { INIT_SCRIPT, ROOT_INIT_SCRIPT, RUN_PORTS, SESSION_SCRIPT } from './init-script.js';

const scripts = [
  ['/init', INIT_SCRIPT],
  ['the session', SESSION_SCRIPT],
  ["the root image's init", ROOT_INIT_SCRIPT],
] as const;

test.each(scripts)('%s is a script that the shell can parse', (_name, text) => {
  // ash where there is one, since that is what runs it; any POSIX shell otherwise.
  const shell = isStaticElf('/bin/busybox') ? ['/bin/busybox', 'sh'] : ['/bin/sh'];
  const { status, stderr } = spawnSync(shell[0] ?? '', [...shell.slice(1), '-n'], {
    input: text,
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  expect(status).toBe(0);
});

test.each(scripts)('%s has no unexpanded piece of a template', (_name, text) => {
  expect(text).not.toMatch(/undefined|\[object|\$\{[A-Z_]+\./);
});

test('the init opens each port that the machine offers for a command', () => {
  for (const name of Object.values(RUN_PORTS)) expect(INIT_SCRIPT).toContain(`port ${name} `);
});
