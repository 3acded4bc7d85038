/**
 * A user without root for a test: an account with subordinate ids, a home and a runtime folder, and tvmm as that user sees it. Each command
 * has a mount namespace in which the checkout and Node stand where the user may go, and /dev/net/tun is open as distributions have it.
 */
import { execFile, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeRootfs, type Result } from './engine.js';

const CHECKOUT = join(import.meta.dirname, '..', '..');

const SCRIPT = `
  mount --bind "$CHECKOUT" "$BASE/tvmm" && mount --bind "$NODE" "$BASE/node" || exit 120
  if [ -c /dev/net/tun ]; then mount -t tmpfs -o dev,mode=755 tun /dev/net && mknod -m 666 /dev/net/tun c 10 200 || exit 121; fi
  cd / && exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups "$@"
`;

function command(program: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
}

function freeId(): number {
  const used = new Set(
    readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .map((line) => line.split(':')[2]),
  );
  for (let id = 21_000; ; id++) if (!used.has(String(id))) return id;
}

export class RootlessUser {
  readonly base = mkdtempSync(join(tmpdir(), 'tvmm-rootless-'));
  readonly rootfs = join(this.base, 'rootfs');
  readonly id = freeId();
  readonly name = `tvmm${process.pid}x${this.id}`;

  /** @param subids whether /etc/subuid and /etc/subgid give it ids */
  constructor(readonly subids: boolean) {
    chmodSync(this.base, 0o755);
    for (const folder of ['tvmm', 'home', 'run']) mkdirSync(join(this.base, folder));
    writeFileSync(join(this.base, 'node'), '');
    makeRootfs(this.rootfs);
    for (const folder of ['home', 'run']) {
      chownSync(join(this.base, folder), this.id, this.id);
      chmodSync(join(this.base, folder), 0o700);
    }
    command('chown', ['-R', `${this.id}:${this.id}`, this.rootfs]);
    if (subids) {
      command('useradd', ['-u', `${this.id}`, '-U', '-M', '-d', join(this.base, 'home'), this.name]);
      if (!readFileSync('/etc/subuid', 'utf8').includes(`${this.name}:`)) {
        const range = `${0x4000_0000 + this.id * 65_536}-${0x4000_0000 + this.id * 65_536 + 65_535}`;
        command('usermod', ['--add-subuids', range, '--add-subgids', range, this.name]);
      }
    }
  }

  /** A file of the user's. */
  file(name: string): string {
    return join(this.base, 'home', name);
  }

  run(
    program: string,
    args: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<Result> {
    const env = {
      PATH: '/usr/local/bin:/usr/bin:/bin',
      HOME: join(this.base, 'home'),
      XDG_RUNTIME_DIR: join(this.base, 'run'),
      ...environment,
      BASE: this.base,
      CHECKOUT,
      NODE: process.execPath,
      USER_ID: `${this.id}`,
    };
    const words = ['--mount', '--propagation', 'slave', 'sh', '-c', SCRIPT, 'sh', program, ...args];
    return new Promise((resolve) => {
      execFile(
        'unshare',
        words,
        { env, timeout: 60_000, killSignal: 'SIGKILL', maxBuffer: 16 * 2 ** 20 },
        (error, stdout, stderr) => {
          const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
          resolve({ status, stdout, stderr });
        },
      ).stdin?.end();
    });
  }

  tvmm(...args: string[]): Promise<Result> {
    return this.run(join(this.base, 'node'), [join(this.base, 'tvmm/dist/cli.cjs'), ...args]);
  }

  /** The process that holds the user's namespaces. */
  holder(): number {
    const { holder }: { holder: { pid: number } } = JSON.parse(
      readFileSync(join(this.base, 'run/tvmm/rootless.json'), 'utf8'),
    );
    return holder.pid;
  }

  /** Command lines of the user's processes, subordinate ids included. */
  processes(): string[] {
    return readdirSync('/proc').flatMap((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        const uid = Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]);
        const isOwn = uid === this.id || words.some((word) => word.startsWith(this.base));
        // Ended, and its new parent does not care: so it is where the first process is no init.
        const isZombie = /^State:\s+Z/m.test(status);
        return isOwn && !isZombie ? [words.join(' ')] : [];
      } catch {
        return [];
      }
    });
  }

  [Symbol.dispose](): void {
    if (existsSync(join(this.base, 'run/tvmm/rootless.json'))) {
      try {
        process.kill(this.holder(), 'SIGKILL');
      } catch {
        // A test has ended it.
      }
    }
    if (this.subids) spawnSync('userdel', [this.name], { stdio: 'ignore' });
    rmSync(this.base, { recursive: true, force: true });
  }
}
