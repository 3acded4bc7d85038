/**
 * `tvmm boot` as a newcomer types it, on whatever this host has: its own KVM, or the lab where that cannot run a stock kernel. The default guest,
 * a disk of the host's, and the console on a terminal.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureGuest } from '../src/guest/image.js';
import { kvmUsability } from '../src/vmm/accel.js';
import { noLab } from './support/lab.js';
import { CLI, lockedInodes, tvmm } from './support/tvmm.js';

const { usable } = kvmUsability();
const impossible = usable ? undefined : noLab;

let folder = '';
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-boot-host-'));
  await ensureGuest();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(impossible !== undefined)(
  `tvmm boot on this host${impossible === undefined ? '' : ' (no lab)'}`,
  () => {
    test('--run gives the status and the output of the command, and its writes reach the image on the host', async () => {
      const image = join(folder, 'data.img');
      writeFileSync(image, '');
      truncateSync(image, 4 * 2 ** 20);
      const command =
        'cat; head -c 4194304 /dev/urandom | tee /dev/vdb | sha256sum; sync; echo done >&2; exit 7';
      const { status, stdout, stderr, left } = await tvmm(
        ['boot', '--accel', 'auto', '--drive', `${image},id=data`, '--run', command],
        { stdin: Buffer.from('typed\n') },
      );
      const sum = createHash('sha256').update(readFileSync(image)).digest('hex');
      expect(stdout).toBe(`typed\n${sum}  -\n`);
      const where = /^tvmm: [^\n]+; booting in the lab [^\n]+\n/;
      if (!usable) expect(stderr).toMatch(where);
      expect(stderr.replace(where, '')).toBe('done\n');
      expect([status, left]).toEqual([7, []]);
      expect(lockedInodes()).not.toContain(statSync(image).ino);
    });

    test('on a terminal it is the guest’s console: a prompt, what is typed, Ctrl-A x, and the terminal as it was', async () => {
      const line = [
        `stty -a >"${folder}/before"`,
        `"${process.execPath}" "${CLI}" boot --accel auto; echo "status $?"`,
        `stty -a >"${folder}/after"`,
      ].join('; ');
      // script(1) gives it a terminal of its own.
      const child = spawn('script', ['-qec', line, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
      let screen = '';
      child.stdout.on('data', (chunk: Buffer) => {
        screen += chunk.toString('latin1');
      });
      const ended = new Promise<void>((done) => child.once('exit', () => done()));
      const seen = (pattern: RegExp) =>
        expect.poll(() => screen, { timeout: 240_000, interval: 200 }).toMatch(pattern);
      try {
        // The shell asks where the cursor is (DSR, ESC [ 6 n); nobody answers.
        await seen(/This is a tvmm guest[\s\S]*# (.\[6n)?$/);
        child.stdin.write('echo $((6*7))\r');
        await seen(/^42\r?$/m);
        child.stdin.write('\x01x');
        await ended;
        await seen(/status 0\r?\n$/);
        expect(readFileSync(join(folder, 'after'), 'utf8')).toBe(
          readFileSync(join(folder, 'before'), 'utf8'),
        );
      } finally {
        child.kill('SIGKILL'); // Its terminal goes with it: whoever is still there is hung up.
        await ended;
      }
    });
  },
);
