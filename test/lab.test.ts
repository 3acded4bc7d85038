/**
 * The lab, for real: what L1 offers, what becomes of commands, and what is left when things go wrong.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { LabDiedError, LabTimeoutError } from '../src/lab/errors.js';
import { Lab } from '../src/lab/lab.js';
import { runInLab } from '../src/lab/run.js';
import { noLab, type SharedLab, sharedLab } from './support/lab.js';

/** Exchange folders of this process. */
function leftovers(pid = process.pid): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith(`tvmm-lab-${pid}-`));
}

function isRunning(pid: number | undefined): boolean {
  // A zombie is gone for every purpose but its parent's.
  return (
    pid !== undefined &&
    existsSync(`/proc/${pid}`) &&
    !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  );
}

describe.skipIf(noLab !== undefined)(
  `the shared lab${noLab === undefined ? '' : ` (skipped: ${noLab})`}`,
  () => {
    let lab: SharedLab;
    beforeAll(async () => {
      lab = await sharedLab();
    });

    it('has the real kvm_amd with nested paging, and a /dev/kvm that opens', async () => {
      const { stdout } = await lab.exec([
        'sh',
        '-c',
        'dmesg; exec 3<>/dev/kvm && echo opened; cat /sys/module/kvm_amd/parameters/npt',
      ]);
      expect(stdout).toContain('SVM: kvm: Nested Paging enabled');
      expect(stdout.trimEnd().split('\n').slice(-2)).toEqual(['opened', 'Y']);
    });

    it('gives the status and both streams of a command, byte for byte', async () => {
      const result = await lab.exec(['sh', '-c', 'printf "out é"; printf err >&2; exit 7']);
      expect(result).toEqual({ status: 7, stdout: 'out é', stderr: 'err' });
    });

    it('reports signals and missing commands as shells do', async () => {
      expect((await lab.exec(['sh', '-c', 'kill -TERM $$'])).status).toBe(143);
      expect((await lab.exec(['no-such-command'])).status).toBe(127);
    });

    it('takes binary stdin', async () => {
      const stdin = Uint8Array.from({ length: 70_000 }, (_, n) => (n * 7) & 0xff);
      const { stdout } = await lab.exec(
        ['sh', '-c', `cat > ${lab.exchangeInLab}/stdin.bin; wc -c < ${lab.exchangeInLab}/stdin.bin`],
        { stdin },
      );
      expect(stdout.trim()).toBe('70000');
      expect(Buffer.compare(readFileSync(join(lab.exchange, 'stdin.bin')), stdin)).toBe(0);
    });

    it('runs commands in the folder and with the environment they are given', async () => {
      const options = { cwd: '/usr/share', env: { TVMM_WORD: "it's $HOME" } };
      const { stdout } = await lab.exec(
        ['sh', '-c', 'pwd; echo "$TVMM_WORD"; env | grep -ci proxy'],
        options,
      );
      expect(stdout).toBe("/usr/share\nit's $HOME\n0\n");
    });

    // A file that no other test of this lab needs: what it does to it stays in the lab.
    it('sees the project where the host has it, and cannot change it', async () => {
      const { stdout } = await lab.exec([
        'sh',
        '-c',
        'grep -c . LICENSE; echo changed > LICENSE; cat LICENSE',
      ]);
      expect(Number(stdout.split('\n')[0])).toBeGreaterThan(5);
      expect(stdout).toContain('changed');
      expect(readFileSync('LICENSE', 'utf8')).toContain('Apache License');
      await lab.exec(['rm', '-f', 'LICENSE']);
    });

    it('sees at once what the host puts on the exchange share', async () => {
      for (const word of ['one', 'two']) {
        writeFileSync(join(lab.exchange, 'changing'), word);
        expect((await lab.exec(['cat', `${lab.exchangeInLab}/changing`])).stdout).toBe(word);
      }
    });

    it('runs several commands at once', async () => {
      const meet = (mine: string, other: string) =>
        lab.exec(['sh', '-c', `touch /tmp/${mine}; until [ -e /tmp/${other} ]; do sleep 0.1; done`], {
          timeoutMs: 30_000,
        });
      const results = await Promise.all([meet('first', 'second'), meet('second', 'first')]);
      expect(results.map(({ status }) => status)).toEqual([0, 0]);
    });

    it('kills the whole process group of a command that exceeds its time, and says what it had written', async () => {
      const command = lab.exec(['sh', '-c', 'echo before; sleep 987 & sleep 987'], { timeoutMs: 2000 });
      await expect(command).rejects.toThrow(LabTimeoutError);
      await expect(command).rejects.toMatchObject({ code: 'LAB_TIMEOUT', stdout: 'before\n' });
      const { stdout } = await lab.exec([
        'sh',
        '-c',
        'grep -l "slee[p].987" /proc/[0-9]*/cmdline 2>/dev/null',
      ]);
      expect(stdout).toBe('');
    });

    it('returns although a process left behind holds the streams open', async () => {
      const { status, stdout } = await lab.exec(['sh', '-c', 'sleep 300 & echo $!']);
      expect(status).toBe(0);
      await lab.exec(['kill', stdout.trim()]);
    });

    it('leaves no zombie of a process whose parent is gone', async () => {
      const { stdout } = await lab.exec(['sh', '-c', 'sleep 0.1 & echo $!']);
      const check = `until [ ! -e /proc/${stdout.trim()} ]; do sleep 0.1; done`;
      expect((await lab.exec(['sh', '-c', check], { timeoutMs: 20_000 })).status).toBe(0);
    });

    it('leaves no zombie of a command that has ended', async () => {
      const { stdout } = await lab.exec(['sh', '-c', 'echo $PPID']);
      const check = `until [ ! -e /proc/${stdout.trim()} ]; do sleep 0.1; done`;
      expect((await lab.exec(['sh', '-c', check], { timeoutMs: 20_000 })).status).toBe(0);
    });
  },
);

describe.skipIf(noLab !== undefined)('a lab of its own', () => {
  it('rejects with the console when L1 ends under a command, and leaves nothing behind', async () => {
    await using lab = await Lab.start({ memoryMiB: 512, cpus: 1 });
    const { pid } = lab;
    expect(leftovers()).toHaveLength(1);
    const command = lab.exec([
      'sh',
      '-c',
      'echo l1-last-words > /dev/console; sleep 1; echo b > /proc/sysrq-trigger; sleep 60',
    ]);
    await expect(command).rejects.toThrow(LabDiedError);
    await expect(command).rejects.toThrow(/l1-last-words/);
    await expect(lab.exec(['true'])).rejects.toThrow(LabDiedError);
    await lab[Symbol.asyncDispose]();
    expect(leftovers()).toEqual([]);
    expect(isRunning(pid)).toBe(false);
  });

  it('streams one command, binary clean, with the end of stdin passed on', async () => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const bytes = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, n) => (n * 13) & 0xff));
    const taken = [stdout, stderr].map(async (stream) => Buffer.concat(await stream.toArray()));
    const streams = { stdin: Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)]), stdout, stderr };
    const status = await runInLab(['sh', '-c', 'cat; echo to-stderr >&2; exit 3'], {
      memoryMiB: 512,
      cpus: 1,
      streams,
    });
    stdout.end();
    stderr.end();
    const [out, err] = await Promise.all(taken);
    expect(status).toBe(3);
    expect(err?.toString()).toBe('to-stderr\n');
    expect(out?.equals(bytes)).toBe(true);
    expect(leftovers()).toEqual([]);
  });

  it('shares no random numbers with another copy of the same booted machine', async () => {
    const drawn: string[] = [];
    for (let copy = 0; copy < 2; copy++) {
      await using lab = await Lab.start({ memoryMiB: 512, cpus: 1 });
      drawn.push((await lab.exec(['cat', '/proc/sys/kernel/random/uuid'])).stdout);
    }
    expect(drawn[0]).toMatch(/^[0-9a-f-]{36}\n$/);
    expect(drawn[0]).not.toBe(drawn[1]);
  });

  it('loses no output to a reader that is slower than the command', async () => {
    const stdout = new PassThrough({ highWaterMark: 1024 });
    let taken = 0;
    const reading = (async () => {
      for await (const chunk of stdout) {
        taken += chunk.length;
        if (taken < 1024 * 1024) await new Promise((later) => setTimeout(later, 30));
      }
    })();
    const streams = { stdin: Readable.from([]), stdout, stderr: new PassThrough() };
    const command = ['head', '-c', '6000000', '/dev/zero'];
    expect(await runInLab(command, { memoryMiB: 512, cpus: 1, streams })).toBe(0);
    stdout.end();
    await reading;
    expect(taken).toBe(6_000_000);
  });

  it('is ended when it stands still and a command has no time left', async () => {
    await using lab = await Lab.start({ memoryMiB: 512, cpus: 1 });
    if (lab.pid === undefined) throw new Error('the lab has no process');
    process.kill(lab.pid, 'SIGSTOP');
    await expect(lab.exec(['true'], { timeoutMs: 100 })).rejects.toThrow(LabDiedError);
    expect(isRunning(lab.pid)).toBe(false);
  });

  it('says so when a streaming command is overdue', async () => {
    const streams = { stdin: Readable.from([]), stdout: new PassThrough(), stderr: new PassThrough() };
    const run = runInLab(['sleep', '600'], { memoryMiB: 512, cpus: 1, streams, timeoutMs: 200 });
    await expect(run).rejects.toThrow(LabTimeoutError);
    expect(leftovers()).toEqual([]);
  });

  it('dies with its parent, even when that is killed', async () => {
    const script = `
      import { Lab } from './src/lab/lab.ts';
      const lab = await Lab.start({ memoryMiB: 512, cpus: 1 });
      console.log(lab.pid);
      setInterval(() => {}, 1000);`;
    const child = spawnTypeScript(script);
    const pid = await new Promise<number>((resolve, reject) => {
      child.stdout?.once('data', (text: Buffer) => resolve(Number(text)));
      child.once('exit', () => reject(new Error('the parent ended by itself')));
    });
    expect(isRunning(pid)).toBe(true);
    child.kill('SIGKILL');
    await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false);
    // What a killed process cannot remove, the next lab does.
    await using next = await Lab.start({ memoryMiB: 512, cpus: 1 });
    expect(leftovers(child.pid)).toEqual([]);
    expect(next.pid).toBeDefined();
  });
});

/** A child process that runs a TypeScript module of this project. */
function spawnTypeScript(source: string): ChildProcess {
  const run = `
    import { build } from 'esbuild';
    const done = await build({ stdin: { contents: ${JSON.stringify(source)}, resolveDir: process.cwd(), loader: 'ts' },
      bundle: true, platform: 'node', format: 'esm', target: 'node20', packages: 'external', write: false,
      // A module in a data URL does not know where the package is.
      define: { 'import.meta.dirname': JSON.stringify(process.cwd() + '/test') } });
    await import('data:text/javascript;base64,' + Buffer.from(done.outputFiles[0].contents).toString('base64'));`;
  return spawn(process.execPath, ['--input-type=module', '-e', run], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}
