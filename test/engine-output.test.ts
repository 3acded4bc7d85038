/** What the container commands print: templates, filters, and docker's names for things. Needs root. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { engineHost } from './support/engine.js';
import { needs } from './support/needs.js';

const host = engineHost('tvmm-output-');
const { tvmm, run, removeAll } = host;
const isRoot = process.geteuid?.() === 0;

beforeAll(async () => {
  host.open();
  if (!isRoot) return;
  await run(
    ['-d', '--name', 'web', '-l', 'tier=front', '-l', 'x.y=z', '-m', '64m', '-v', 'data:/d'],
    'sleep',
    '1000',
  );
  await run(['--name', 'job', '-l', 'tier=back'], 'sh', '-c', 'exit 3');
});
beforeEach((context) => needs(context, 'root'));
afterAll(async () => {
  if (isRoot) await removeAll();
  await host.close();
});

const output = async (...args: string[]) => {
  const { stdout, stderr } = await tvmm(args);
  expect(stderr).toBe('');
  return stdout;
};

describe('tvmm ps', () => {
  it('fills templates with docker’s fields, and prints tables of them', async () => {
    expect(await output('ps', '-a', '--format', '{{.Names}}\\t{{.State}}\\t{{.Labels}}')).toBe(
      'job\texited\ttier=back\nweb\trunning\ttier=front,x.y=z\n',
    );
    expect(await output('ps', '--format', 'table {{.Names}}\\t{{.Mounts}}')).toBe(
      'NAMES   MOUNTS\nweb     data\n',
    );
    expect(JSON.parse(await output('ps', '--format', '{{json .}}'))).toMatchObject({
      Names: 'web',
      Command: '"sleep 1000"',
    });
  });

  it('filters by what docker filters by', async () => {
    const names = (...filters: string[]) =>
      output('ps', '-a', '--format', '{{.Names}}', ...filters.flatMap((one) => ['--filter', one]));
    expect(await names('name=^w')).toBe('web\n');
    expect(await names('name=web', 'name=job')).toBe('job\nweb\n');
    expect(await names('label=tier', 'label=x.y=z')).toBe('web\n');
    expect(await names('status=exited', 'exited=3')).toBe('job\n');
    expect(await names('volume=data')).toBe('web\n');
    expect(await names('since=web')).toBe('job\n');
    expect(await output('ps', '-l', '--format', '{{.Names}}')).toBe('job\n');
    const wrong = await tvmm(['ps', '--filter', 'colour=red']);
    expect(wrong.status).toBe(125);
    expect(wrong.stderr).toContain('--filter colour=red is not known');
  });
});

describe('tvmm inspect', () => {
  it('answers what scripts ask docker for', async () => {
    const format =
      '{{.State.Status}} {{.State.Running}} {{.Config.Labels.tier}} {{.HostConfig.Memory}} {{(index .Mounts 0).Name}}';
    expect(await output('inspect', '-f', format, 'web')).toBe(`running true front ${64 * 2 ** 20} data\n`);
    expect(await output('inspect', '-f', '{{.State.ExitCode}} {{json .Args}}', 'job')).toBe(
      '3 ["-c","exit 3"]\n',
    );
    const wrong = await tvmm(['inspect', '-f', '{{.State.Nope}}', 'web']);
    expect(wrong).toMatchObject({ status: 125 });
    expect(wrong.stderr).toContain('there is no field Nope; there are Status, Running');
  });
});

describe('the other lists', () => {
  it('take templates too', async () => {
    expect(await output('volume', 'ls', '--format', '{{.Name}}:{{.Driver}}')).toBe('data:local\n');
    expect(await output('stats', '--no-stream', '--format', '{{.Name}} {{.PIDs}}')).toBe('web 1\n');
    expect(
      await output(
        'events',
        '--since',
        '1h',
        '--until',
        '0s',
        '--filter',
        'event=die',
        '--format',
        '{{.Name}} {{.Attributes.exitCode}}',
      ),
    ).toBe('job 3\n');
  });
});
