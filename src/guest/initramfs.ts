/**
 * The default guest's initramfs: busybox, `/init` and the modules of one kernel, each device's drivers in a list of their own
 * so that the guest loads only what it has devices for. Uncompressed: it is copied into guest memory, and unpacking costs the
 * guest more than the bytes do. Does not know how the archive gets into the machine.
 */
import { CpioWriter } from './cpio.js';
import { INIT_SCRIPT, SESSION_FILE, SESSION_SCRIPT } from './init-script.js';
import { moduleName, readModule, resolveModules, withoutSignature } from './modules.js';

/** What {@link buildInitramfs} needs. */
export interface InitramfsParts {
  /** Bytes of a static busybox. */
  busybox: Uint8Array;
  /** `uname -r` of the kernel the modules belong to. */
  version: string;
  /** `…/lib/modules/VERSION` on the host. */
  modulesDir: string;
}

/**
 * What `/init` may ask for, by the name it uses; `?` marks what a kernel may lack. ext4 is here because some distributions
 * build it as a module.
 */
const DRIVERS = [
  'virtio_pci',
  'virtio_mmio?',
  'virtio_blk',
  'virtio_console',
  'virtio_rng?',
  'virtio_net?',
  'virtio_balloon?',
  'vmw_vsock_virtio_transport?',
  'virtiofs?',
  'overlay?',
  'ext4?',
] as const;

/** The initramfs as an uncompressed newc archive. Throws ModuleError where the kernel lacks a driver that is needed. */
export async function buildInitramfs(parts: InitramfsParts): Promise<Buffer> {
  const archive = new CpioWriter();
  for (const folder of ['proc', 'sys', 'dev', 'root', 'newroot', 'lower', 'upper', 'tvmm'])
    archive.directory(folder);
  // The kernel opens this for init before init can mount devtmpfs (Documentation/filesystems/ramfs-rootfs-initramfs.rst).
  archive.device('dev/console', 'char', 5, 1);
  archive.file('init', INIT_SCRIPT, 0o755);
  archive.file(SESSION_FILE, SESSION_SCRIPT, 0o755);
  archive.file('bin/busybox', parts.busybox, 0o755);
  archive.symlink('bin/sh', 'busybox');

  const folder = `lib/modules/${parts.version}`;
  const added = new Set<string>();
  for (const driver of DRIVERS) {
    const files = await resolveModules(parts.modulesDir, [driver]);
    if (files.length === 0) continue;
    archive.file(
      `${folder}/${moduleName(driver.replace('?', ''))}.list`,
      files.map(({ name }) => `${name}\n`).join(''),
    );
    for (const module of files) {
      if (added.has(module.name)) continue;
      added.add(module.name);
      archive.file(`${folder}/${module.name}.ko`, withoutSignature(await readModule(module)));
    }
  }
  return archive.finish();
}
