/**
 * L1's initramfs: busybox, the modules that lead to /dev/kvm and to the host's file system, and the scripts. Cached by
 * the kernel's version and a hash of everything that goes in. Uncompressed: under emulation unpacking costs more than reading.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDir, cachedFolder } from '../guest/cache.js';
import { CpioWriter } from '../guest/cpio.js';
import { moduleAliases, readModule, resolveModules } from '../guest/modules.js';
import { packageRoot } from '../sys/package-root.js';
import { LabStartError } from './errors.js';
import { agentScript, initScript } from './init-script.js';

/** What L1 needs before it has the host's file system; the rest is modprobe's. A `?` marks what some kernels lack. */
export const LAB_MODULES = [
  'virtio_pci',
  'virtio_console',
  '9pnet_virtio',
  '9p',
  'overlay',
  'vmgenid?',
  'kvm_amd',
] as const;

/** Whose modules the kernel itself asks for, by aliases: networks, rules of firewalls, ciphers and checksums. */
const ALIAS_FOLDERS = ['kernel/net', 'kernel/drivers/net', 'kernel/crypto'];

/** Raised when the layout of the initramfs changes in a way that the hash of its scripts does not show. */
const LAYOUT_VERSION = 2;

const BUSYBOX_PLACES = ['/bin/busybox', '/usr/bin/busybox', '/usr/lib/busybox/busybox-static'];
const ELF_MAGIC = 0x7f454c46;
/** Program header type of a dynamic executable's loader (ELF specification, "Program Header"). */
const PT_INTERP = 3;

/** What the initramfs is made for. */
export interface LabKernel {
  readonly version: string;
  readonly modulesDir: string;
}

/** An initramfs in the cache. */
export interface LabInitramfs {
  /** Absolute path of the archive. */
  readonly path: string;
  /** Names its contents: equal keys are equal archives. */
  readonly key: string;
}

/** The initramfs for a kernel, built if the cache has none. Throws {@link LabStartError} where busybox is missing. */
export async function ensureInitramfs(kernel: LabKernel): Promise<LabInitramfs> {
  const busybox = findBusybox();
  const agent = agentScript();
  const busyboxBytes = readFileSync(busybox);
  const hold = readFileSync(join(packageRoot(), 'dist/firmware/kvm-hold'));
  const hash = createHash('sha256')
    .update(
      JSON.stringify([
        LAYOUT_VERSION,
        kernel,
        LAB_MODULES,
        ALIAS_FOLDERS,
        initScript({ modules: [], modulesDir: '' }),
        agent,
      ]),
    )
    .update(busyboxBytes)
    .update(hold);
  const key = `${kernel.version}-${hash.digest('hex').slice(0, 16)}`;
  const folder = await cachedFolder(join(cacheDir(), 'lab', `initramfs-${key}`), async (target) => {
    const archive = new CpioWriter();
    const modules: string[] = [];
    for (const module of await resolveModules(kernel.modulesDir, LAB_MODULES)) {
      const path = `modules/${module.name}.ko`;
      archive.file(path, await readModule(module));
      modules.push(path);
    }
    archive
      .file('bin/busybox', busyboxBytes, 0o755)
      .file('kvm-hold', hold, 0o755)
      .file('init', initScript({ modules, modulesDir: kernel.modulesDir }), 0o755)
      .file('agent', agent)
      .file('modules.alias', Buffer.from(await moduleAliases(kernel.modulesDir, ALIAS_FOLDERS)))
      // The kernel opens the first process's stdio before anything is mounted.
      .device('dev/console', 'char', 5, 1);
    writeFileSync(join(target, 'initramfs.cpio'), archive.finish());
  });
  return { path: join(folder, 'initramfs.cpio'), key };
}

/** The static busybox of this host. Throws {@link LabStartError} where there is none. */
export function findBusybox(): string {
  const found = BUSYBOX_PLACES.filter((place) => existsSync(place));
  for (const place of found) {
    const path = realpathSync(place);
    if (isStatic(readFileSync(path))) return path;
  }
  const what = found.length === 0 ? 'busybox is not installed' : `${found[0]} is not statically linked`;
  throw new LabStartError(`the lab cannot start: ${what}`, {
    code: 'LAB_NO_BUSYBOX',
    hint: 'apt-get install busybox-static',
  });
}

/** Whether an ELF-64 executable runs without a loader: it has no PT_INTERP program header. */
export function isStatic(elf: Uint8Array): boolean {
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
  if (elf.length < 64 || view.getUint32(0) !== ELF_MAGIC) return false;
  const table = Number(view.getBigUint64(0x20, true)); // e_phoff
  const size = view.getUint16(0x36, true);
  const count = view.getUint16(0x38, true);
  if (size < 4 || table + size * count > elf.length) return false;
  for (let index = 0; index < count; index++) {
    if (view.getUint32(table + index * size, true) === PT_INTERP) return false;
  }
  return true;
}
