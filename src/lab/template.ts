/**
 * A booted L1 to continue from, instead of booting one: QEMU's migration stream of a machine that is parked, before anything
 * of the host is mounted (a mounted 9p share cannot be saved). A stream, not a file that clones map: RAM that is mapped
 * from a file gets no huge pages, and nested guests ran a fifth slower. A template is good for one boot of this host, since L1's
 * idea of its TSC's frequency is in it.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { cacheDir, cachedFolder } from '../guest/cache.js';
import type { Progress } from '../guest/progress.js';
import { AgentControl } from './control.js';
import { LabStartError } from './errors.js';
import type { LabInitramfs } from './initramfs.js';
import { SAYS } from './layout.js';
import { type LabDisk, type LabMachine, type PortName, qemuArguments } from './machine.js';
import { QemuProcess } from './qemu-process.js';
import { Monitor } from './qmp.js';
import { shellQuote } from './shell.js';

/** What an L1 is made of. */
export interface LabParts {
  readonly machine: LabMachine;
  /** Absolute path of QEMU. */
  readonly qemu: string;
  readonly qemuVersion: string;
  readonly vmlinux: string;
  readonly initramfs: LabInitramfs;
  readonly disks: readonly LabDisk[];
}

/** A template in the cache. */
export interface Template {
  readonly folder: string;
  /** The state of L1, its used RAM included: some 150 MB. */
  readonly state: string;
}

/** Templates of other machines (memory, CPUs) that are kept. */
const KEPT_TEMPLATES = 6;
const PREFIX = 'template-';
const POLL_MS = 10;
const SAVE_TIMEOUT_MS = 60_000;
const BOOT_TIMEOUT_MS = 180_000;
/** All that a clone may have: a port that is connected in the template needs no event in the clone. */
const TEMPLATE_PORTS: readonly PortName[] = ['control', 'stdin', 'stdout', 'stderr', 'monitor'];

/** Whether QEMU can save such a machine: its model of the AMD IOMMU cannot be. */
export function canBeTemplate(machine: LabMachine): boolean {
  return machine.iommu !== 'amd';
}

/** The template of a machine, made if the cache has none. Throws `CacheError`, `LabStartError`, `LabDiedError`. */
export async function ensureTemplate(
  parts: LabParts,
  options: { progress?: Progress; signal?: AbortSignal },
): Promise<Template> {
  const parent = join(cacheDir(), 'lab');
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
  const folder = join(parent, `${PREFIX}${boot}-${templateKey(parts)}`);
  await cachedFolder(
    folder,
    async (target) => {
      prune(parent, `${PREFIX}${boot}-`);
      await saveTemplate(parts, files(target), options.signal);
    },
    { progress: options.progress },
  );
  // Its age decides what prune removes.
  const now = new Date();
  utimesSync(folder, now, now);
  return files(folder);
}

function files(folder: string): Template {
  return { folder, state: join(folder, 'state') };
}

/** Names everything that the saved state depends on. */
export function templateKey(parts: LabParts): string {
  const args = templateArguments(parts, '');
  const inputs = [parts.qemu, parts.qemuVersion, parts.initramfs.key, ...args];
  return createHash('sha256').update(JSON.stringify(inputs)).digest('hex').slice(0, 16);
}

function templateArguments(parts: LabParts, exchange: string): string[] {
  return qemuArguments({
    machine: parts.machine,
    vmlinux: parts.vmlinux,
    initramfs: parts.initramfs.path,
    exchange,
    ports: TEMPLATE_PORTS,
    disks: parts.disks.map(() => 'placeholder'),
  });
}

/** Boots L1 to where it parks, and saves it. */
async function saveTemplate(parts: LabParts, to: Template, signal?: AbortSignal): Promise<void> {
  const args = templateArguments(parts, to.folder);
  await using qemu = new QemuProcess(parts.qemu, args, TEMPLATE_PORTS);
  const kill = () => qemu.kill();
  signal?.addEventListener('abort', kill);
  try {
    await new AgentControl(qemu).heard(SAYS.parked, BOOT_TIMEOUT_MS);
    const monitor = await Monitor.open(qemu.port('monitor'));
    // No limit: this is a local file.
    await monitor.execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 });
    await monitor.execute('migrate', { uri: `exec:cat > ${shellQuote(to.state)}` });
    await migrated(monitor);
  } finally {
    signal?.removeEventListener('abort', kill);
  }
}

async function migrated(monitor: Monitor): Promise<void> {
  for (const until = Date.now() + SAVE_TIMEOUT_MS; Date.now() < until; await delay(POLL_MS)) {
    const status = await monitor.migrationStatus();
    if (status === 'completed') return;
    if (status === 'failed' || status === 'cancelled') break;
  }
  throw new LabStartError('the booted machine of the lab could not be saved', { code: 'LAB_TEMPLATE' });
}

/** Removes templates of other boots of this host, and the least recently used ones of this. */
function prune(parent: string, current: string): void {
  const templates = readdirSync(parent).filter((name) => name.startsWith(PREFIX));
  const byAge = templates
    .filter((name) => name.startsWith(current))
    .map((name) => ({ name, time: statSync(join(parent, name)).mtimeMs }))
    .sort((a, b) => b.time - a.time);
  const unused = byAge.slice(KEPT_TEMPLATES - 1).map(({ name }) => name);
  // A clone that is reading one has it open.
  for (const name of [...unused, ...templates.filter((one) => !one.startsWith(current))]) {
    rmSync(join(parent, name), { recursive: true, force: true });
  }
}
