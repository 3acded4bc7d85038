/**
 * From options to a running L1: finds kernel, initramfs and QEMU, makes the exchange folder, starts the machine and waits for its
 * agent. Whatever fails on the way, nothing stays behind.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureKernel } from '../guest/kernels.js';
import { type Progress, silent } from '../guest/progress.js';
import { AgentControl } from './control.js';
import { LabStartError } from './errors.js';
import { ensureInitramfs, findBusybox } from './initramfs.js';
import { JOBS_FOLDER, SAYS } from './layout.js';
import {
  checkLabMachine,
  checkQemu,
  DEFAULT_LAB_MACHINE,
  findQemu,
  type LabMachine,
  qemuArguments,
} from './machine.js';
import { type PortName, QemuProcess } from './qemu-process.js';

/** Options of a lab. */
export interface LabOptions extends Partial<LabMachine> {
  /** Told what is being prepared: the kernel of L1 may have to be fetched. */
  progress?: Progress;
  /** Further QEMU arguments: devices for L1. */
  devices?: readonly string[];
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
  const machine: LabMachine = {
    memoryMiB: options.memoryMiB ?? DEFAULT_LAB_MACHINE.memoryMiB,
    cpus: options.cpus ?? DEFAULT_LAB_MACHINE.cpus,
    iommu: options.iommu ?? DEFAULT_LAB_MACHINE.iommu,
  };
  checkLabMachine(machine);
  const path = findQemu();
  const version = checkQemu(path);
  // Awaited below; until then its failure must not count as nobody's.
  version.catch(() => {});
  const kernel = await ensureKernel('full', options.progress ?? silent);
  const initramfs = await ensureInitramfs(kernel);
  await version;
  options.signal?.throwIfAborted();

  const folder = exchangeFolder();
  const stack = new AsyncDisposableStackLite();
  stack.defer(() => folder.remove());
  try {
    const used: PortName[] = ['control', ...ports.filter((name) => name !== 'control')];
    const inputs = {
      machine,
      vmlinux: kernel.vmlinux,
      initramfs: initramfs.path,
      exchange: folder.path,
      ports: used,
    };
    const qemu = new QemuProcess(path, qemuArguments({ ...inputs, devices: options.devices }), used);
    stack.defer(() => qemu[Symbol.asyncDispose]());
    const kill = () => qemu.kill();
    options.signal?.addEventListener('abort', kill);
    stack.defer(() => options.signal?.removeEventListener('abort', kill));
    const control = new AgentControl(qemu);
    const timeout = options.startTimeoutMs ?? START_TIMEOUT_MS;
    await control.heard(SAYS.parked, timeout);
    control.go();
    await control.heard(SAYS.up, timeout);
    return { qemu, control, exchange: folder.path, [Symbol.asyncDispose]: () => stack.dispose() };
  } catch (error) {
    await stack.dispose();
    throw error;
  }
}

/** Undoes in reverse order; Node 20 has no AsyncDisposableStack. */
class AsyncDisposableStackLite {
  #undo: (() => void | Promise<void>)[] = [];

  defer(undo: () => void | Promise<void>): void {
    this.#undo.push(undo);
  }

  async dispose(): Promise<void> {
    const undo = this.#undo.reverse();
    this.#undo = [];
    for (const one of undo) await one();
  }
}

/** A fresh exchange folder. It goes with {@link startLab}'s result, or with this process, or with the next lab's start. */
function exchangeFolder(): { path: string; remove: () => void } {
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
