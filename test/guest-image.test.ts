/**
 * The default guest booted for real, by QEMU's interpreter and without tvmm's own machine: what the image promises must not
 * depend on who boots it. One boot runs a command, the other one is talked to on the console.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ensureGuest, type Guest } from '../src/guest/image.js';
import { RUN_PORTS } from '../src/guest/init-script.js';
import { runArchive } from '../src/guest/run-archive.js';

let folder = '';
let guest: Guest;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-guest-image-'));
  guest = await ensureGuest();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Starts QEMU with the default guest's kernel and root. */
function boot(initrd: string, commandLine: string, devices: readonly string[]) {
  const machine = ['-M', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-m', '256', '-no-reboot'];
  const bare = ['-nodefaults', '-no-user-config', '-display', 'none'];
  const kernel = [
    '-kernel',
    guest.kernel,
    '-initrd',
    initrd,
    '-append',
    `${commandLine} quiet panic=-1 tvmm.overlay`,
  ];
  const disk = [
    '-drive',
    `if=none,id=d0,format=raw,readonly=on,file=${guest.rootfs}`,
    '-device',
    'virtio-blk-pci,drive=d0',
  ];
  const qemu = spawn('qemu-system-x86_64', [...machine, ...bare, ...kernel, ...disk, ...devices], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((done) => qemu.once('close', done));
  return { qemu, ended };
}

test('runs a command with binary-clean streams and gives its status', async () => {
  const initrd = join(folder, 'initrd-run');
  const command = 'cat; echo "$(id -u) $(node -p 6*7)" >&2; unshare -U true && exit 7';
  writeFileSync(initrd, Buffer.concat([readFileSync(guest.initrd), runArchive(command)]));
  const port = (name: keyof typeof RUN_PORTS, backend: string) => [
    ...['-chardev', `${backend},id=${name}`],
    ...['-device', `virtserialport,chardev=${name},name=${RUN_PORTS[name]}`],
  ];
  const output = (name: 'stdout' | 'stderr' | 'control') => port(name, `file,path=${join(folder, name)}`);
  const { qemu, ended } = boot(initrd, 'console=ttyS0', [
    ...['-serial', `file:${join(folder, 'console')}`, '-device', 'virtio-serial-pci'],
    ...port('stdin', 'stdio,signal=off'),
    ...output('stdout'),
    ...output('stderr'),
    ...output('control'),
  ]);
  const bytes = Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * 31) & 0xff));
  qemu.stdin.end(bytes);
  expect(await ended).toBe(0);
  const read = (name: string) => readFileSync(join(folder, name));
  expect(read('stderr').toString()).toBe('0 42\n');
  expect(read('control').toString()).toBe('exit 7\n');
  expect(read('stdout').equals(bytes)).toBe(true);
});

test('gives a root shell on the console, and powers off when it ends', async () => {
  const { qemu, ended } = boot(guest.initrd, 'console=ttyS0', ['-serial', 'stdio']);
  let seen = '';
  qemu.stdout.on('data', (chunk: Buffer) => {
    const before = seen;
    seen += chunk.toString();
    const prompt = '[guest] ~ # ';
    if (!before.includes(prompt) && seen.includes(prompt))
      qemu.stdin.write('echo "$(tty) $((6 * 7))"; exit\n');
  });
  expect(await ended).toBe(0);
  expect(seen).toContain('Leave with "exit"');
  expect(seen).toContain('/dev/ttyS0 42');
  expect(seen).toContain('Power down');
});
