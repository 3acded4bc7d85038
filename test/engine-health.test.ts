/** Health checks of containers: run by their minders, shown by ps, inspect and events; and checks that mean ill. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { engineHost } from './support/engine.js';
import { busyboxArchive } from './support/engine-image.js';
import { needs } from './support/needs.js';

const host = engineHost('tvmm-health-');
const { tvmm, run } = host;
let base = '';

interface Health {
  readonly Status: string;
  readonly FailingStreak: number;
  readonly Log: readonly { readonly ExitCode: number; readonly Output: string }[];
}

async function health(name: string): Promise<Health> {
  const { stdout, stderr } = await tvmm(['inspect', '-f', '{{json .State.Health}}', name]);
  if (stdout.trim() === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

const becomes = (name: string, status: string) =>
  host.until(`${name} is ${status}`, async () => (await health(name)).Status === status);

/** Processes whose command line names this engine's folders and a health check. */
function checks(): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words.includes('health') && words.some((word) => word.startsWith(base)) ? [pid] : [];
    } catch {
      return [];
    }
  });
}

describe('health checks', () => {
  beforeEach((context) => needs(context, 'root'));
  beforeAll(async () => {
    ({ base } = host.open());
    const archive = join(base, 'image.tar');
    const Healthcheck = { Test: ['CMD', 'stat', '/tmp/well'], Interval: 1e8, Retries: 1 };
    writeFileSync(archive, busyboxArchive('checked:latest', { Cmd: ['sleep', '1000'], Healthcheck }));
    expect((await tvmm(['image', 'load', '-i', archive])).status).toBe(0);
    const broken = { Test: ['CMD', 'true'], Interval: -1 };
    writeFileSync(archive, busyboxArchive('broken:latest', { Cmd: ['true'], Healthcheck: broken }));
  });
  afterEach(async () => {
    await host.removeAll();
    await host.until('nothing is left', () => checks().length === 0 && host.leftovers().length === 0);
  });
  afterAll(host.close);

  it('runs the image’s check, and tells of it in ps, inspect and events', async () => {
    const run = await tvmm(['run', '-d', '--name', 'web', '--network', 'none', 'checked']);
    expect(run.status, run.stderr).toBe(0);
    await becomes('web', 'unhealthy');
    expect((await tvmm(['ps', '--filter', 'health=unhealthy', '--format', '{{.Status}}'])).stdout).toMatch(
      /^Up .* \(unhealthy\)$/m,
    );
    await tvmm(['exec', 'web', 'touch', '/tmp/well']);
    await becomes('web', 'healthy');
    expect((await tvmm(['ps', '-q', '--filter', 'health=unhealthy'])).stdout).toBe('');
    const events = await tvmm([
      'events',
      '--since',
      '1h',
      '--until',
      '0s',
      '--filter',
      'event=health_status',
    ]);
    expect(events.stdout.match(/health_status="\w+"/g)).toEqual([
      'health_status="unhealthy"',
      'health_status="healthy"',
    ]);
    // Checks are no commands of the user's.
    const execs = await tvmm(['events', '--since', '1h', '--until', '0s', '--filter', 'event=exec']);
    expect(execs.stdout.match(/ exec /g)).toHaveLength(1);
  });

  it('kills a check that never ends, and cuts one that prints without end', async () => {
    const options = ['--health-interval', '100ms', '--health-retries', '1'];
    const endless = 'echo begun; sleep 1000 & sleep 1000';
    await run(
      ['-d', '--name', 'slow', '--health-cmd', endless, '--health-timeout', '400ms', ...options],
      'sleep',
      '1000',
    );
    const flood = 'seq 1 2000000; exit 3';
    await run(['-d', '--name', 'loud', '--health-cmd', flood, ...options], 'sleep', '1000');
    await becomes('slow', 'unhealthy');
    const [slow] = (await health('slow')).Log;
    expect(slow).toMatchObject({ ExitCode: -1 });
    expect(slow?.Output).toContain('begun');
    await becomes('loud', 'unhealthy');
    const [loud] = (await health('loud')).Log;
    expect(loud?.ExitCode).toBe(3);
    expect(Buffer.byteLength(loud?.Output ?? '')).toBe(4096);
    // What the check left in the background is gone as well: one sleep is the container's own, one may be of the check under way.
    const { stdout } = await tvmm(['top', 'slow', '--json']);
    const processes: unknown[] = JSON.parse(stdout);
    expect(processes.length).toBeLessThanOrEqual(4);
  });

  it('fails where the program of the check is not there, and says so', async () => {
    await run(
      ['-d', '--name', 'none', '--health-cmd', '["/no/such"]', '--health-interval', 'disable'],
      'sleep',
      '1000',
    );
    const { status, stdout } = await tvmm(['healthcheck', 'run', 'none']);
    expect([status, stdout]).toEqual([1, 'starting\n']);
    const [probe] = (await health('none')).Log;
    expect(probe?.ExitCode).toBe(127);
    expect(probe?.Output).toContain('/no/such');
  });

  it('goes on under another minder, and begins anew with the next start', async () => {
    const options = [
      '--health-cmd',
      'test -e /tmp/well',
      '--health-interval',
      '100ms',
      '--health-retries',
      '1',
    ];
    await run(['-d', '--name', 'kept', ...options], 'sleep', '1000');
    await becomes('kept', 'unhealthy');
    process.kill((await host.inspect('kept')).minder?.pid ?? 0, 'SIGKILL');
    writeFileSync(join(base, 'rootfs/tmp/well'), '');
    await becomes('kept', 'healthy');
    await tvmm(['stop', '-t', '0', 'kept']);
    await tvmm(['start', 'kept']);
    await becomes('kept', 'healthy');
  });

  it('kills an unhealthy container where that is asked for, and its restart policy has its say', async () => {
    const options = ['--health-cmd', 'false', '--health-interval', '50ms', '--health-retries', '2'];
    const answer = ['--health-on-failure', 'kill', '--restart', 'on-failure:1'];
    await run(['-d', '--name', 'ill', ...options, ...answer], 'sleep', '1000');
    await host.until('it ended for good', async () => {
      const { state, restarts } = await host.inspect('ill');
      return state === 'stopped' && restarts === 1;
    });
    expect((await host.inspect('ill')).exitCode).toBe(137);
  });

  it('leaves no check behind when the container ends', async () => {
    const options = ['--health-cmd', 'sleep 1000', '--health-interval', '50ms'];
    await run(['-d', '--name', 'short', ...options], 'sleep', '1000');
    await host.until('a check runs', () => checks().length > 0);
    await tvmm(['kill', 'short']);
    await host.until('the check is gone', () => checks().length === 0);
    expect((await host.inspect('short')).exitCode).toBe(137);
  });

  it('refuses an image whose check makes no sense', async () => {
    const { status, stderr } = await tvmm(['image', 'load', '-i', join(base, 'image.tar')]);
    expect(status).toBe(125);
    expect(stderr).toContain('/config/Healthcheck/Interval');
    expect(existsSync(join(base, 'root'))).toBe(true);
  });
});
