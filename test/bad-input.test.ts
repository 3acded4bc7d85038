/**
 * What cannot work, as users meet it: each time one sentence that names the thing, at most one hint, status 125, and nothing left behind. No lab:
 * whatever comes as far as KVM does with any /dev/kvm.
 */

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Machine, type MachineConfig } from 'tvmm';
import { KVM_CAP, Kvm } from 'tvmm/kvm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { code, fakeBzImage, fakeElf, fakePvhKernel } from '../src/boot/fake-kernels.js';
import { needs } from './support/needs.js';
import { held, threadsBackAt } from './support/resources.js';
import { CLI, lockedInodes, type Outcome, tvmm } from './support/tvmm.js';

/** `jmp $` in any mode. */
const LOOP = Uint8Array.of(0xeb, 0xfe);
/** The same after an `A` on COM1. */
const HELLO = Uint8Array.of(0xba, 0xf8, 0x03, 0xb0, 0x41, 0xee, 0xeb, 0xfe);
/** `mov dx, 0x3f8; mov al, 'A'; out dx, al; jmp` back to the output. */
const FLOOD = Uint8Array.of(0xba, 0xf8, 0x03, 0xb0, 0x41, 0xee, 0xeb, 0xfd);
/** `mov dx, 0x602; mov al, 1; out dx, al`: the reset register. */
const RESET = Uint8Array.of(0xba, 0x02, 0x06, 0xb0, 0x01, 0xee, 0xeb, 0xfe);

let folder = '';
const at = (name: string) => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-bad-input-'));
  const files: Record<string, Uint8Array | string> = {
    'loop.bin': LOOP,
    'hello.bin': HELLO,
    'flood.bin': FLOOD,
    'reset.bin': RESET,
    text: 'hello, this is no kernel\n',
    'gzip.gz': gzipSync('hello'),
    empty: '',
    vmlinux: fakePvhKernel(),
    bzImage: fakeBzImage(),
    'short-elf': fakePvhKernel().subarray(0, 100),
    'short-bzImage': fakeBzImage(0x8000).subarray(0, 2000),
    'far-elf': fakeElf({ entry: 0x7000_0000, segments: [{ paddr: 0x7000_0000, data: code(64) }] }),
    'old-bzImage': fakeBzImage(0x800, { version: 0x0201 }),
  };
  for (const [name, bytes] of Object.entries(files)) writeFileSync(at(name), bytes);
  for (const name of ['disk.img', 'other.img', 'big-initrd']) {
    writeFileSync(at(name), '');
    truncateSync(at(name), name === 'big-initrd' ? 64 * 2 ** 20 : 2 ** 20);
  }
  mkdirSync(at('folder'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** `boot` in the test's folder, on this machine's KVM. */
function boot(args: readonly string[], options: Parameters<typeof tvmm>[1] = {}): Promise<Outcome> {
  return tvmm(['boot', '--accel', 'kvm', ...args], { cwd: folder, ...options });
}

const flat = (...more: string[]) => ['--flat', 'real16', '--kernel', 'loop.bin', '--timeout', '20', ...more];
const linux = (kernel: string, ...more: string[]) => [
  ...['--kernel', kernel, '--rootfs', 'none', '--timeout', '20'],
  ...(more.includes('--initrd') ? more : ['--initrd', 'none', ...more]),
];

/** The shape of every refusal: one sentence, a hint perhaps, nothing else anywhere. */
function expectRefusal(outcome: Outcome, words: RegExp): void {
  expect(outcome.stderr).toMatch(/^tvmm: [^\n]+\n(hint: [^\n]+\n)?$/);
  expect(outcome.stderr.split('\n')[0]).toMatch(words);
  expect(outcome).toMatchObject({ status: 125, signal: null, stdout: '', left: [] });
}

describe('boot refuses in one sentence with status 125, and leaves nothing', () => {
  const table: [what: string, args: string[], words: RegExp][] = [
    ['a kernel that is not there', linux('absent'), /no such kernel: "absent"/],
    ['a flat binary that is not there', ['--flat', 'long64', '--kernel', 'absent'], /"absent"/],
    ['text as kernel', linux('text'), /not a kernel: "text" looks like a text file/],
    ['a gzip file as kernel', linux('gzip.gz'), /not a kernel: "gzip.gz" looks like a gzip file/],
    ['a folder as kernel', linux('folder'), /kernel "folder".* is a directory/],
    ['an empty kernel', linux('empty'), /kernel "empty".* is empty/],
    ['a device as kernel', linux('/dev/null'), /kernel "\/dev\/null"/],
    ['a truncated vmlinux', linux('short-elf'), /"short-elf" is truncated/],
    ['a truncated bzImage', linux('short-bzImage'), /"short-bzImage" is truncated/],
    ['a bzImage of the last century', linux('old-bzImage'), /"old-bzImage" .*older than 2\.06/],
    ['a segment outside RAM', linux('far-elf', '--memory', '64M'), /"far-elf" does not fit.*64 MiB/],
    ['a bzImage in too little memory', linux('bzImage', '--memory', '8M'), /"bzImage" does not fit.*8 MiB/],
    ['a protocol that the kernel has not', linux('bzImage', '--protocol', 'pvh'), /"bzImage" .*has no PVH/i],
    ['an initrd that is not there', linux('vmlinux', '--initrd', 'absent'), /no such initrd: "absent"/],
    ['a folder as initrd', linux('vmlinux', '--initrd', 'folder'), /initrd "folder".* is a directory/],
    ['an empty initrd', linux('vmlinux', '--initrd', 'empty'), /initrd "empty".* is empty/],
    [
      'an initrd larger than the memory',
      linux('vmlinux', '--memory', '64M', '--initrd', 'big-initrd'),
      /initrd "big-initrd" needs 64 MiB and does not fit/,
    ],
    ['a command line of 3000 bytes', linux('vmlinux', '--cmdline', 'a'.repeat(3000)), /command line has \d+/],
    ['a command line with a line break', linux('vmlinux', '--cmdline', 'a\nb'), /command line .*line break/],
    ['no memory', flat('--memory', '0'), /memory of 0 bytes/],
    ['a page of memory', flat('--memory', '4K'), /memory of 4096 bytes is too small/],
    ['memory beyond any guest', flat('--memory', '100T'), /is too large/],
    ['memory beyond numbers', flat('--memory', '9000000T'), /--memory "9000000T" is too large/],
    [
      'memory that is no multiple of a page',
      flat('--memory', '1048577'),
      /1048577 .*not a multiple of the page/,
    ],
    ['memory that is no number', flat('--memory', 'much'), /--memory "much" is not a size/],
    ['no vCPUs', flat('--cpus', '0'), /--cpus "0"/],
    ['half a vCPU', flat('--cpus', '1.5'), /--cpus "1\.5"/],
    ['more vCPUs than tvmm counts', flat('--cpus', '99999'), /--cpus "99999"/],
    ['more vCPUs than KVM gives', flat('--cpus', '4096'), /4096 vCPUs are more than this KVM gives/],
    ['an unknown CPU feature', flat('--cpu-mask', 'avx2,warp'), /unknown CPU feature "warp" in --cpu-mask/],
    ['a root disk that is not there', flat('--rootfs', 'absent'), /disk image absent does not exist/],
    ['a folder as root disk', flat('--rootfs', 'folder'), /disk image folder is a directory/],
    ['an empty root disk', flat('--rootfs', 'empty'), /disk image empty is empty/],
    ['a drive that is not there', flat('--drive', 'absent,ro'), /disk image absent does not exist/],
    [
      'a character device as drive',
      flat('--drive', '/dev/null'),
      /\/dev\/null is neither a regular file nor/,
    ],
    ['an unknown drive option', flat('--drive', 'disk.img,rx'), /--drive "disk.img,rx": unknown option "rx"/],
    ['a drive without a file', flat('--drive', ',ro'), /--drive ",ro" names no file/],
    ['a drive with an empty name', flat('--drive', 'disk.img,id='), /--drive: "" is no drive name/],
    [
      'a drive name of 21 letters',
      flat('--drive', `disk.img,id=${'x'.repeat(21)}`),
      /"x{21}" is no drive name/,
    ],
    [
      'two drives of one name',
      flat('--drive', 'disk.img,id=a', '--drive', 'other.img,id=a'),
      /two drives are called "a"/,
    ],
    [
      'one writable file as two drives',
      flat('--drive', 'disk.img', '--drive', 'disk.img'),
      /disk\.img is already in use by this process/,
    ],
    ['a time limit that is none', flat('--timeout', 'soon'), /--timeout "soon"/],
    ['a flat binary with a command', flat('--run', 'true'), /--run needs a Linux guest/],
  ];
  test.each(table)('%s', async (_, args, words) => {
    expectRefusal(await boot(args), words);
    expect(lockedInodes()).not.toContain(statSync(at('disk.img')).ino);
  });

  test('--json puts the same sentence on stdout, as one line of JSON', async () => {
    for (const args of [
      linux('absent'),
      flat('--memory', '3'),
      flat('--drive', 'disk.img', '--drive', 'disk.img'),
    ]) {
      const { status, stdout, stderr, left } = await boot([...args, '--json']);
      expect(stdout).toMatch(/^[^\n]+\n$/);
      const report: unknown = JSON.parse(stdout);
      expect(report).toMatchObject({ status: 125, end: 'failed', error: { code: expect.any(String) } });
      expect(stderr).toContain(String(Reflect.get(Object(Reflect.get(Object(report), 'error')), 'message')));
      expect([status, left]).toEqual([125, []]);
    }
  });

  test('a writable drive on a read-only file system', async (context) => {
    needs(context, 'root');
    const mounted = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
    const prefix = ['unshare', '-m', 'sh', '-c', mounted, folder];
    expectRefusal(await boot(flat('--drive', at('disk.img')), { prefix }), /disk\.img cannot be written/);
    const readOnly = await boot(
      ['--flat', 'real16', '--kernel', 'reset.bin', '--drive', `${at('disk.img')},ro`],
      {
        prefix,
      },
    );
    expect(readOnly).toMatchObject({ status: 0, stderr: '' });
  });

  test('a drive that another machine writes to, which is told by its process', async () => {
    let second: Outcome | undefined;
    const first = boot(flat('--kernel', 'hello.bin', '--drive', 'disk.img'), {
      started: async (child) => {
        await new Promise((said) => child.stdout?.once('data', said));
        second = await boot(flat('--drive', 'disk.img,ro'));
        child.kill('SIGTERM');
      },
    });
    expect(await first).toMatchObject({ status: 143, left: [] });
    if (second === undefined) throw new Error('the second machine never ran');
    expectRefusal(second, /disk\.img is in use by process \d+ \(.+\)/);
    // Both are gone, and so is the lock.
    const third = await boot(['--flat', 'real16', '--kernel', 'reset.bin', '--drive', 'disk.img']);
    expect(third).toMatchObject({ status: 0, stderr: '', left: [] });
  });
});

describe('a /dev/kvm that is', () => {
  /** tvmm with a /dev/kvm that `commands` made, in a mount namespace of its own. */
  const withKvm = (commands: string, user: readonly string[] = []) =>
    boot(flat(), { prefix: ['unshare', '-m', 'sh', '-ec', `${commands}; exec "$@"`, 'sh', ...user] });

  test('missing', async (context) => {
    needs(context, 'root');
    const outcome = await withKvm('mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3');
    expectRefusal(outcome, /\/dev\/kvm does not exist/);
  });

  test('not KVM', async (context) => {
    needs(context, 'root', 'kvm');
    expectRefusal(await withKvm('mount --bind /dev/null /dev/kvm'), /\/dev\/kvm is not KVM/);
  });

  test('not permitted', async (context) => {
    needs(context, 'root', 'kvm', 'openCheckout');
    const make = `mknod -m 600 "${at('kvm')}" c 10 232; mount --bind "${at('kvm')}" /dev/kvm; chmod 755 "${folder}"; chmod 777 "$TMPDIR"`;
    const outcome = await withKvm(make, ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']);
    rmSync(at('kvm'), { force: true });
    expectRefusal(outcome, /\/dev\/kvm exists, but this user may not open it/);
    expect(outcome.stderr).toContain('kvm group');
  });

  test('lacking a capability', (context) => {
    needs(context, 'kvm');
    using kvm = Kvm.open();
    const have = (name: keyof typeof KVM_CAP) => kvm.capability(name) > 0;
    const names = Object.keys(KVM_CAP).filter((name): name is keyof typeof KVM_CAP => name in KVM_CAP);
    expect(() => kvm.requireCapabilities(names.filter(have))).not.toThrow();
    // A capability number that no kernel has stands in where this KVM has them all.
    const absent = names.find((name) => !have(name));
    if (absent === undefined) Object.assign(kvm, { capability: () => 0 });
    const wanted = absent ?? 'IRQFD';
    expect(() => kvm.requireCapabilities([wanted])).toThrow(`this KVM lacks KVM_CAP_${wanted}`);
  });
});

describe('a library user', () => {
  const configs: [what: string, config: () => Partial<MachineConfig>, code: string][] = [
    ['without the device', () => ({ kvmPath: at('no-kvm') }), 'KVM_MISSING'],
    ['with another device', () => ({ kvmPath: '/dev/null' }), 'KVM_API_VERSION'],
    ['with a file as device', () => ({ kvmPath: at('text') }), 'KVM_API_VERSION'],
    ['without a kernel', () => ({ kernel: at('absent') }), 'KERNEL_NOT_FOUND'],
    ['with an empty kernel', () => ({ kernel: new Uint8Array(0) }), 'KERNEL_'],
    ['without a disk', () => ({ drives: [{ path: at('absent') }] }), 'DISK_NOT_FOUND'],
    [
      'with one disk twice',
      () => ({ drives: [{ path: at('disk.img') }, { path: at('disk.img') }] }),
      'DISK_LOCKED',
    ],
    ['with half a page', () => ({ memory: 2 ** 20 + 2048 }), 'MEMORY_NOT_PAGE_MULTIPLE'],
    ['with no vCPUs', () => ({ cpus: 0 }), 'CPUS'],
    ['with part of a vCPU', () => ({ cpus: 1.5 }), 'CPUS'],
    ['with too many vCPUs', () => ({ cpus: 5000 }), 'CPUS'],
    [
      'with 25 drives',
      () => ({ drives: Array.from({ length: 25 }, (_, i) => ({ path: at(`${i}`) })) }),
      'DRIVES',
    ],
    ['with a flat binary that does not fit', () => ({ kernel: new Uint8Array(2 ** 21) }), 'KERNEL_'],
    ['with a segment outside RAM', () => ({ kernel: at('far-elf'), flat: undefined }), 'KERNEL_'],
  ];
  test.each(configs)(
    '%s gets an error with its code, and keeps no descriptor, thread or lock',
    async (_, config, code) => {
      // The first error loads what later ones share.
      await Machine.create({ kernel: at('absent') }).catch(() => {});
      const before = held();
      const failure: unknown = await Machine.create({
        kernel: LOOP,
        flat: { mode: 'real16' },
        memory: 2 ** 20,
        ...config(),
      }).catch((error: unknown) => error);
      expect(failure).toMatchObject({
        code: expect.stringContaining(code),
        message: expect.stringMatching(/^[^\n]+$/),
      });
      expect(await threadsBackAt(before.threads)).toBe(before.threads);
      expect(held()).toEqual(before);
      expect(lockedInodes()).not.toContain(statSync(at('disk.img')).ino);
    },
  );
});

describe('a guest that never ends', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('ends cleanly by %s', async (signal, status) => {
    const outcome = await boot(flat('--kernel', 'hello.bin', '--drive', 'disk.img'), {
      started: (child) => child.stdout?.once('data', () => child.kill(signal)),
    });
    expect(outcome).toEqual({ status, signal: null, stdout: 'A', stderr: '', left: [] });
    expect(lockedInodes()).not.toContain(statSync(at('disk.img')).ino);
  });

  test('ends by --timeout, in one sentence', async () => {
    expectRefusal(await boot(flat('--timeout', '1')), /still running after 1 s and was stopped/);
  });

  test('ends when nobody reads its console any more', async () => {
    const line = `"${process.execPath}" "${CLI}" boot --accel kvm --flat real16 --kernel flood.bin --timeout 60 | head -c1; echo "=\${PIPESTATUS[0]}"`;
    const child = spawn('bash', ['-c', line], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
    expect(Buffer.concat(await child.stdout.toArray()).toString()).toBe('A=141\n');
  });

  test('is gone without a lock when tvmm is killed', async () => {
    const outcome = await boot(flat('--drive', 'disk.img', '--cpus', '2'), {
      started: async (child) => {
        await expect.poll(() => lockedInodes(), { timeout: 60_000 }).toContain(statSync(at('disk.img')).ino);
        child.kill('SIGKILL');
      },
    });
    expect(outcome).toMatchObject({ status: null, signal: 'SIGKILL', left: [] });
    expect(lockedInodes()).not.toContain(statSync(at('disk.img')).ino);
  });
});

test('--json reports a success as one line of JSON, with the console on stderr', async () => {
  const { status, stdout, left } = await boot(['--flat', 'real16', '--kernel', 'reset.bin', '--json']);
  expect(stdout).toMatch(/^[^\n]+\n$/);
  const report: unknown = JSON.parse(stdout);
  expect(report).toMatchObject({ status: 0, end: 'reset', exits: { 2: 1 } });
  const timings: unknown = Reflect.get(Object(report), 'timings');
  expect(timings).toContainEqual({ name: 'first instruction', ms: expect.any(Number) });
  expect([status, left]).toEqual([0, []]);
});
