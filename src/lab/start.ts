/**
 * From options to a running L1: finds kernel, initramfs and QEMU, makes the exchange folder, starts the machine and waits for its
 * agent. Whatever fails on the way, nothing stays behind.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CacheError } from '../guest/cache.js';
import { ensureKernel } from '../guest/kernels.js';
import { type Progress, silent } from '../guest/progress.js';
import { TvmmError } from '../sys/errors.js';
import { AgentControl } from './control.js';
import { LabStartError } from './errors.js';
import { ensureInitramfs, findBusybox } from './initramfs.js';
import { JOBS_FOLDER, SAYS } from './layout.js';
import {
  checkLabMachine,
  checkQemu,
  DEFAULT_LAB_MACHINE,
  findQemu,
  type LabDisk,
  type LabMachine,
  type PortName,
  qemuArguments,
} from './machine.js';
import { QemuProcess } from './qemu-process.js';
import { canBeTemplate, ensureTemplate, type LabParts, type Template } from './template.js';

/** Options of a lab. */
export interface LabOptions extends Partial<LabMachine> {
  /** Told what is being prepared: the kernel of L1 may have to be fetched. */
  progress?: Progress;
  /** Images of this host as disks of L1, in order: what L1 writes to them stays. */
  disks?: readonly LabDisk[];
  /** Further QEMU arguments: other devices for L1. They cost the boot that a template saves. */
  devices?: readonly string[];
  /** `false` boots L1 instead of continuing the copy of a booted one (template.ts); for tests and measurements. */
  template?: boolean;
  /** How long L1 may take to come up; 180 s by default, since a loaded machine emulates slowly. */
  startTimeoutMs?: number;
  /** Aborting it makes the start fail, with nothing left behind. */
  signal?: AbortSignal;
}

/** Why this host cannot have a lab, as a sentence; undefined where it can (a kernel may still have to be fetched). */
export function whyNoLab(): string | undefined {
  try {
    findQemu();
    findBusybox();
    return undefined;
  } catch (error) {
    if (error instanceof LabStartError) return `${error.message} (${error.hint})`;
    throw error;
  }
}

const START_TIMEOUT_MS = 180_000;
/** A clone is up within a second or two, or never. */
const CLONE_TIMEOUT_MS = 45_000;
const EXCHANGE_PREFIX = 'tvmm-lab-';

/** A running L1 whose agent answers. */
export interface StartedLab extends AsyncDisposable {
  readonly qemu: QemuProcess;
  readonly control: AgentControl;
  /** The exchange share's folder on the host. */
  readonly exchange: string;
}

/** Starts L1 with the ports `ports` (the control port always). Throws `LabStartError`, `LabOptionError`, `LabDiedError`. */
export async function startLab(options: LabOptions, ports: readonly PortName[] = []): Promise<StartedLab> {
  const parts = await findParts(options);
  options.signal?.throwIfAborted();
  const template = await templateFor(parts, options);
  options.signal?.throwIfAborted();
  const folder = exchangeFolder();
  try {
    if (template !== undefined) {
      try {
        return await bringUp(parts, options, ports, folder, template);
      } catch (error) {
        // Whatever a template does wrong, booting does right; the next start makes a new one.
        options.signal?.throwIfAborted();
        if (!(error instanceof TvmmError)) throw error;
        rmSync(template.folder, { recursive: true, force: true });
      }
    }
    return await bringUp(parts, options, ports, folder);
  } catch (error) {
    folder.remove();
    throw error;
  }
}

/** What L1 is made of, found or made. */
async function findParts(options: LabOptions): Promise<LabParts> {
  const machine: LabMachine = {
    memoryMiB: options.memoryMiB ?? DEFAULT_LAB_MACHINE.memoryMiB,
    cpus: options.cpus ?? DEFAULT_LAB_MACHINE.cpus,
    iommu: options.iommu ?? DEFAULT_LAB_MACHINE.iommu,
  };
  checkLabMachine(machine);
  const qemu = findQemu();
  const version = checkQemu(qemu);
  // Awaited below; until then its failure must not count as nobody's.
  version.catch(() => {});
  const kernel = await ensureKernel('full', options.progress ?? silent);
  const initramfs = await ensureInitramfs(kernel);
  return {
    machine,
    qemu,
    qemuVersion: await version,
    vmlinux: kernel.vmlinux,
    initramfs,
    disks: options.disks ?? [],
  };
}

/** The template to start from, if this machine can have one. A template that cannot be made is no reason to fail. */
async function templateFor(parts: LabParts, options: LabOptions): Promise<Template | undefined> {
  if (options.template === false || (options.devices ?? []).length > 0 || !canBeTemplate(parts.machine))
    return undefined;
  try {
    return await ensureTemplate(parts, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof CacheError || error instanceof LabStartError) return undefined;
    throw error;
  }
}

/** One QEMU from its start to an agent that takes jobs: booted, or continued from a template. */
async function bringUp(
  parts: LabParts,
  options: LabOptions,
  ports: readonly PortName[],
  folder: ExchangeFolder,
  template?: Template,
): Promise<StartedLab> {
  const used: PortName[] = ['control', ...ports];
  const args = qemuArguments({
    machine: parts.machine,
    vmlinux: parts.vmlinux,
    initramfs: parts.initramfs.path,
    exchange: folder.path,
    ports: used,
    disks: parts.disks,
    devices: options.devices,
    state: template?.state,
  });
  const qemu = new QemuProcess(parts.qemu, args, used);
  const kill = () => qemu.kill();
  options.signal?.addEventListener('abort', kill);
  const dispose = async () => {
    options.signal?.removeEventListener('abort', kill);
    await qemu[Symbol.asyncDispose]();
  };
  try {
    const control = new AgentControl(qemu);
    const timeout = options.startTimeoutMs ?? START_TIMEOUT_MS;
    if (template === undefined) await control.heard(SAYS.parked, timeout);
    control.go();
    await control.heard(SAYS.up, template === undefined ? timeout : Math.min(timeout, CLONE_TIMEOUT_MS));
    const disposeAll = async () => {
      await dispose();
      folder.remove();
    };
    return { qemu, control, exchange: folder.path, [Symbol.asyncDispose]: disposeAll };
  } catch (error) {
    await dispose();
    throw error;
  }
}

interface ExchangeFolder {
  readonly path: string;
  readonly remove: () => void;
}

/** A fresh exchange folder. It goes with {@link startLab}'s result, or with this process, or with the next lab's start. */
function exchangeFolder(): ExchangeFolder {
  const parent = tmpdir();
  for (const name of staleFolders(readdirSync(parent), isAlive))
    rmSync(join(parent, name), { recursive: true, force: true });
  const path = mkdtempSync(join(parent, `${EXCHANGE_PREFIX}${process.pid}-`));
  mkdirSync(join(path, JOBS_FOLDER));
  const remove = () => {
    process.off('exit', remove);
    rmSync(path, { recursive: true, force: true });
  };
  process.on('exit', remove);
  return { path, remove };
}

/** Of the names in a temporary folder, the exchange folders whose process was killed before it could remove them. */
export function staleFolders(names: readonly string[], alive: (pid: number) => boolean): string[] {
  return names.filter((name) => {
    const match = /^tvmm-lab-(\d+)-[A-Za-z0-9]{6}$/.exec(name);
    return match !== null && !alive(Number(match[1]));
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: somebody else's, but alive.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
