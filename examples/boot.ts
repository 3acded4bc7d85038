/**
 * Boots a kernel and prints its console until the machine is over.
 *
 *     node dist/examples/boot.js KERNEL [INITRD] [COMMAND LINE]
 */
import { Machine, TvmmError } from 'tvmm';

const [kernel, initrd, cmdline = 'console=ttyS0'] = process.argv.slice(2);
if (kernel === undefined) {
  console.error('usage: boot KERNEL [INITRD] [COMMAND LINE]');
  process.exit(2);
}

try {
  await using machine = await Machine.create({
    kernel,
    initrd: initrd === undefined ? [] : [initrd],
    cmdline,
    memory: 256 * 2 ** 20,
    // The serial port writes to our standard output, from the vCPU's own thread.
    serialFd: 1,
  });
  process.once('SIGINT', () => void machine.stop());
  machine.start();
  const end = await machine.ended;
  if (end.reason === 'failed') throw end.error;
  console.log(`the machine ended: ${end.reason}`);
} catch (error) {
  if (!(error instanceof TvmmError)) throw error;
  console.error(error.hint === undefined ? error.message : `${error.message}\n${error.hint}`);
  process.exitCode = 125;
}
