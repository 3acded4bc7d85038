/** The archive that carries the command of `--run` into the default guest. Alone, because every such boot loads it. */
import { CpioWriter } from './cpio.js';
import { RUN_FILE } from './init-script.js';

/**
 * The archive that makes the default guest run `command` with `/bin/sh -c` instead of giving a shell; it goes right behind
 * the initramfs in memory, on a multiple of 4 bytes. See init-script.ts for the ports that the machine must offer.
 */
export function runArchive(command: string): Buffer {
  return new CpioWriter().file(RUN_FILE, command, 0o600).finish();
}
