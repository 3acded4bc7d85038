/** A root file system of nothing but a static busybox under many names, and the empty folders that containers mount over. */
import { chmodSync, copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBusybox } from '../../src/guest/busybox.js';

const APPLETS =
  'sh true false sleep ls cat echo id ps mount umount hostname env touch stat tty stty grep kill chmod mkdir head sed dd ulimit mknod readlink'.split(
    ' ',
  );

/** Fills `folder`, which may be missing. */
export async function makeBusyboxRoot(folder: string): Promise<void> {
  const bin = join(folder, 'bin');
  mkdirSync(bin, { recursive: true });
  for (const name of ['proc', 'sys', 'dev', 'tmp', 'etc', 'run']) mkdirSync(join(folder, name));
  chmodSync(join(folder, 'tmp'), 0o1777);
  copyFileSync(await ensureBusybox(), join(bin, 'busybox'));
  chmodSync(join(bin, 'busybox'), 0o755);
  for (const applet of APPLETS) symlinkSync('busybox', join(bin, applet));
}
