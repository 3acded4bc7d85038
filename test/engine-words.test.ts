/** The command line as docker's and podman's users write it: other words, several names of which one fails, what is not there. Needs root. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { engineHost } from './support/engine.js';
import { busyboxArchive } from './support/engine-image.js';
import { needs } from './support/needs.js';

const host = engineHost('tvmm-words-');
const { tvmm, run } = host;

let rootfs = '';

beforeAll(() => {
  ({ rootfs } = host.open());
});
beforeEach((context) => needs(context, 'root'));
afterAll(async () => {
  await host.removeAll();
  await host.close();
});

it('goes on after a name that is not there, and says so by its exit status unless that was to be expected', async () => {
  await run(['-d', '--name', 'a'], 'sh', '-c', 'exit 3');
  const waited = await tvmm(['wait', 'nobody', 'a']);
  expect(waited).toMatchObject({ status: 1, stdout: '3\n' });
  expect(waited.stderr).toContain('nobody');
  expect(await tvmm(['container', 'start', 'nobody', 'a'])).toMatchObject({ status: 1, stdout: 'a\n' });
  await tvmm(['wait', 'a']);
  expect(await tvmm(['rm', '-f', 'nobody', 'a'])).toMatchObject({ status: 0, stdout: 'a\n' });
  expect((await tvmm(['rm', 'nobody'])).status).toBe(1);
});

it('removes the images that are there', async () => {
  await tvmm(['load'], busyboxArchive('here:1'));
  const removed = await tvmm(['rmi', 'nothing', 'here:1']);
  expect(removed).toMatchObject({ status: 1, stdout: 'here:1\n' });
  expect(removed.stderr).toContain('nothing');
});

it.each([
  [['container', 'exists', 'nobody'], 1],
  [['image', 'exists', 'nothing'], 1],
  [['volume', 'exists', 'nothing'], 1],
  [['network', 'exists', 'nothing'], 1],
  [['pod', 'exists', 'nobody'], 1],
])('%j answers %d without a word', async (words, status) => {
  expect(await tvmm(words)).toEqual({ status, stdout: '', stderr: '' });
});

it.each([
  [['build', '.'], 'buildah'],
  [['compose', 'up'], 'tvmm pod'],
  [['search', 'x'], 'tvmm pull'],
  [['volume', 'create', '--opt', 'type=nfs', 'v'], 'a volume is a folder'],
  [['exec', '--detach-keys', 'a', 'x', 'true'], 'exec -d'],
])('%j is refused with what to do instead', async (words, hint) => {
  const { status, stderr } = await tvmm(words);
  expect(status).toBe(125);
  expect(stderr).toContain(hint);
});

it('shows what containers have written, lists processes as ps does, and keeps to the filters', async () => {
  await run(['-d', '--name', 'b', '-l', 'kind=test'], 'sleep', '1000');
  expect((await tvmm(['ps', '-s', '--format', '{{.Names}} {{.Size}}'])).stdout).toMatch(
    /^b 0 bytes \(virtual .*\)$/m,
  );
  expect((await tvmm(['inspect', '-s', '-f', '{{.SizeRw}}', 'b'])).stdout).toBe('0\n');
  const { stdout } = await tvmm(['top', 'b', '-eo', 'pid,args']);
  expect(stdout.split('\n').filter((line) => line.includes('sleep 1000'))).toHaveLength(1);
  expect(stdout.trim().split('\n')).toHaveLength(2);
  const events = ['system', 'events', '--since', '1h', '--until', '0s', '--filter'];
  expect((await tvmm([...events, 'label=kind=test'])).stdout).toContain(' start ');
  expect((await tvmm([...events, 'label=kind=other'])).stdout).toBe('');
  expect((await tvmm(['container', 'prune', '--filter', 'until=1h'])).stdout).toBe('');
  await tvmm(['stop', '-t', '0', 'b']);
  expect((await tvmm(['container', 'prune', '--filter', 'label!=kind'])).stdout).toBe('');
  expect((await tvmm(['container', 'prune', '--filter', 'label=kind=test'])).stdout).toBe('b\n');
});

it('removes pods in which nothing runs, and no others', async () => {
  for (const name of ['idle', 'busy']) await tvmm(['pod', 'create', '--network', 'none', '--name', name]);
  await tvmm(['pod', 'start', 'busy']);
  expect((await tvmm(['pod', 'prune'])).stdout).toBe('idle\n');
  expect((await tvmm(['pod', 'ls', '--format', '{{.Name}} {{.Status}}'])).stdout).toBe('busy running\n');
  await tvmm([
    'run',
    '-d',
    '--pod',
    'busy',
    '--name',
    'm',
    '--rootfs',
    rootfs,
    'sh',
    '-c',
    'echo said; exec sleep 1000',
  ]);
  await host.until('it has spoken', async () => (await tvmm(['pod', 'logs', 'busy'])).stdout === 'm said\n');
  expect((await tvmm(['pod', 'top', 'busy'])).stdout).toMatch(/^m .* sleep 1000$/m);
  const stats = await tvmm(['pod', 'stats', '--no-stream', '--format', '{{.Name}}', 'busy']);
  expect(stats.stdout.trim().split('\n').sort()).toEqual(['busy', 'm']);
  expect((await tvmm(['pod', 'rm', '-f', 'busy'])).status).toBe(0);
  expect(host.leftovers()).toEqual([]);
});
