/** `tvmm/container` as programs use it: containers as objects, the OCI runtime, bundles that are only looked at. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TvmmError } from 'tvmm';
import {
  assessBundle,
  ContainerNotFoundError,
  Engine,
  OptionError,
  planBundle,
  Runtime,
  StartError,
  TvmmError as TvmmErrorOfContainer,
} from 'tvmm/container';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeBusyboxRoot } from './support/busybox-root.js';
import { needs } from './support/needs.js';
import { OciTest } from './support/oci.js';

let base = '';
let rootfs = '';
let engine: Engine;

beforeAll(async () => {
  base = mkdtempSync(join(tmpdir(), 'tvmm-library-'));
  chmodSync(base, 0o711);
  rootfs = join(base, 'rootfs');
  await makeBusyboxRoot(rootfs);
  engine = Engine.open({ root: join(base, 'root'), run: join(base, 'run') });
});

beforeEach((context) => needs(context, 'root'));

afterAll(() => rmSync(base, { recursive: true, force: true }));

const network = ['none'];
const shell = (script: string) => ({ rootfs, network, command: ['sh', '-c', script] });

describe('a container', () => {
  it('goes through its life as an object, seen by every handle of it', async () => {
    await using container = await engine.create({ ...shell('exec sleep 60'), name: 'life' });
    const other = engine.container('life');
    expect((await other.inspect()).state).toBe('created');
    await container.start();
    expect((await other.processes()).map(({ command }) => command)).toEqual(['sleep 60']);
    await other.pause();
    expect((await container.inspect()).state).toBe('paused');
    await container.unpause();
    await container.update({ pidsLimit: 7 });
    expect((await container.stats()).pids).toEqual({ current: 1, limit: 7 });
    await container.kill('SIGKILL');
    expect(await other.wait()).toBe(137);
    await other.remove();
    await expect(container.inspect()).rejects.toThrow(ContainerNotFoundError);
    expect(engine.events().map(({ action }) => action)).toEqual([
      'create',
      'start',
      'pause',
      'unpause',
      'update',
      'kill',
      'die',
      'destroy',
    ]);
  });

  it('gives its log to whoever follows it, to its end', async () => {
    await using container = await engine.run(
      shell('for i in 1 2 3; do echo $i; sleep 0.1; done; echo end >&2'),
    );
    const seen: string[] = [];
    for await (const { stream, log } of container.logs({ follow: true }))
      seen.push(`${stream} ${log.trim()}`);
    expect(seen).toEqual(['stdout 1', 'stdout 2', 'stdout 3', 'stderr end']);
  });

  it('answers commands with what they print, no more of it than was asked for', async () => {
    await using container = await engine.run(shell('exec sleep 60'));
    expect(
      await container.output(['sh', '-c', 'cat; echo "$A"; echo err >&2; exit 9'], { env: ['A=b c'] }),
    ).toEqual({
      status: 9,
      stdout: 'b c\n',
      stderr: 'err\n',
    });
    const endless = await container.output(['head', '-c', '300000', '/dev/zero'], { limit: 1000 });
    expect(endless.stdout.length).toBe(1000);
    // A process that stays behind with the stream does not hold it up.
    expect(await container.output(['sh', '-c', 'sleep 60 & echo gone'])).toMatchObject({ stdout: 'gone\n' });
  });

  it('is not left behind by a refused option, or by a program that is not there', async () => {
    await expect(engine.create({ ...shell(''), stopSignal: 'SIGNONE' })).rejects.toThrow(OptionError);
    await expect(engine.run({ rootfs, network, command: ['/no/such'] })).rejects.toThrow(StartError);
    expect(await engine.containers()).toEqual([]);
  });
});

describe('the package', () => {
  it('has one error class for all its entries', () => {
    expect(TvmmErrorOfContainer).toBe(TvmmError);
  });

  it('loads neither network nor compression before an image is asked for', () => {
    const script = `await import('tvmm/container');
      console.log(process.moduleLoadList.filter((name) => /NativeModule (https?|http2|tls|zlib|child_process)$/.test(name)).join())`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      cwd: join(import.meta.dirname, '..'),
      encoding: 'utf8',
    });
    expect(stdout).toBe('\n');
  });
});

describe('a bundle', () => {
  it('runs in a runtime that is told nothing but its root folder, and is planned and assessed as it stands', async () => {
    const oci = new OciTest();
    const bundle = await oci.bundle('exit 6');
    expect(planBundle(bundle).programs.map(({ name }) => name)).toContain('init');
    expect(assessBundle(bundle).findings.map(({ id }) => id)).toContain('no-seccomp');
    const runtime = new Runtime({ root: join(base, 'oci') });
    expect(await runtime.run('library', { bundle })).toBe(6);
    expect(runtime.list()).toEqual([]);
    await oci.end();
  });
});
