/** Images out of containers: diff, commit, export, import, tag, history; and cleaning up. Needs root. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { engineHost } from './support/engine.js';
import { busyboxArchive } from './support/engine-image.js';
import { needs } from './support/needs.js';

const host = engineHost('tvmm-commit-');
const { tvmm, removeAll, leftovers, until } = host;
const isRoot = process.geteuid?.() === 0;
let base = '';

const output = async (...args: string[]) => {
  const { stdout, stderr } = await tvmm(args);
  expect(stderr).toBe('');
  return stdout;
};
const run = (name: string, ...command: string[]) =>
  output('run', '--rm', '--network', 'none', name, ...command);

beforeAll(async () => {
  ({ base } = host.open());
  if (!isRoot) return;
  const archive = busyboxArchive('base:1', { Cmd: ['sh'], Env: ['A=image'] }, [
    { name: 'old', type: 'directory', mode: 0o755 },
    { name: 'old/file', body: 'old' },
    { name: 'gone', body: 'gone' },
  ]);
  await tvmm(['image', 'load'], archive);
  const script =
    'rm /gone; rm -r /old; mkdir /old; echo new > /old/new; echo x > /added; chown 1000 /added; ln /added /same; ln -s /added /link; busybox mkfifo /fifo; echo root:x:0:0::/: > /etc/passwd';
  await output(
    'run',
    '--name',
    'work',
    '--network',
    'none',
    '-e',
    'B=run',
    '-v',
    'vol:/vol',
    'base:1',
    'sh',
    '-c',
    `${script}; echo y > /vol/y`,
  );
});
beforeEach((context) => needs(context, 'root'));
afterAll(async () => {
  if (isRoot) await removeAll();
  await host.close();
});

describe('what a container has changed', () => {
  it('is listed without its mounts', async () => {
    const lines = (await output('diff', 'work')).trim().split('\n').sort();
    expect(lines).toEqual([
      'A /added',
      'A /fifo',
      'A /link',
      'A /old/new',
      'A /same',
      'C /etc',
      'C /etc/passwd',
      'C /old',
      'D /gone',
    ]);
  });

  it('becomes a layer of a new image, with deletions, links and owners', async () => {
    const id = await output(
      'commit',
      '-c',
      'LABEL made=here',
      '-c',
      'CMD ["cat", "/old/new"]',
      '-m',
      'why',
      'work',
      'made:2',
    );
    expect(id).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    expect(await output('run', '--rm', '--network', 'none', 'made:2')).toBe('new\n');
    const script = 'ls /old /vol; ls /gone 2>&1; stat -c "%u %h %F" /added /fifo; echo $A $B';
    const seen = await tvmm(['run', '--rm', '--network', 'none', 'made:2', 'sh', '-c', script]);
    expect(seen.stdout).toBe(
      '/old:\nnew\n\n/vol:\nls: /gone: No such file or directory\n1000 2 regular file\n0 1 fifo\nimage run\n',
    );
    const [shown] = JSON.parse(await output('image', 'inspect', 'made:2'));
    expect(shown.config.labels).toEqual({ made: 'here' });
    expect(shown.layers).toHaveLength(2);
    const [step] = JSON.parse(await output('image', 'history', '--json', 'made:2'));
    expect(step).toMatchObject({ comment: 'why' });
  });

  it('is not committed with instructions that are none', async () => {
    for (const change of ['RUN rm -rf /', 'NONSENSE', 'ENV']) {
      const { status, stderr } = await tvmm(['commit', '-c', change, 'work', 'bad:1']);
      expect(status).toBe(125);
      expect(stderr).toContain(JSON.stringify(change));
    }
  });
});

describe('a root file system', () => {
  it('goes out with export, comes in with import, and gets more names', async () => {
    const file = join(base, 'root.tar');
    expect(await output('export', '-o', file, 'work')).toBe('');
    expect(existsSync(`${file}.partial`)).toBe(false);
    await output('image', 'import', '-c', 'CMD cat /added', file, 'flat:1');
    expect(await output('run', '--rm', '--network', 'none', 'flat:1')).toBe('x\n');
    await output('image', 'tag', 'flat:1', 'flat:latest', 'localhost/other:1');
    const names = await output(
      'image',
      'ls',
      '--format',
      '{{.Repository}}:{{.Tag}}',
      '--filter',
      'reference=flat*',
    );
    expect(names).toBe('flat:1\nflat:latest\n');
    expect(await run('localhost/other:1', 'cat', '/old/new')).toBe('new\n');
    const wrong = await tvmm(['image', 'import', '-', 'bad:1'], 'this is no archive'.repeat(100));
    expect(wrong.status).toBe(125);
    expect(wrong.stderr).not.toContain('internal error');
  });
});

describe('tvmm', () => {
  it('renames a container, and its name is free for another', async () => {
    await output('create', '--name', 'one', '--network', 'none', 'base:1');
    await output('rename', 'one', 'two');
    expect((await tvmm(['rename', 'two', 'work'])).stderr).toContain('the name work is taken');
    await output('create', '--name', 'one', '--network', 'none', 'base:1');
    expect(await output('ps', '-a', '--format', '{{.Names}}')).toBe('one\ntwo\nwork\n');
  });

  it('tells what takes the disk, and cleans up', async () => {
    const rows: { kind: string; count: number }[] = JSON.parse(await output('system', 'df', '--json'));
    expect(rows.map(({ kind, count }) => [kind, count])).toEqual([
      ['images', 3],
      ['containers', 3],
      ['volumes', 1],
    ]);
    expect((await output('container', 'prune')).trim().split('\n').sort()).toEqual(['one', 'two', 'work']);
    const removed = await output('system', 'prune', '-a', '--volumes');
    expect(removed).toContain('image made:2');
    expect(readdirSync(join(base, 'root/layers'))).toEqual([]);
    expect(readdirSync(join(base, 'root/volumes'))).toEqual(['vol']);
    await until('everything is gone', () => leftovers().length === 0);
  });
});
