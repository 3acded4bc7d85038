/** Sets the loopback interface of a new network namespace up (netdevice(7)): the kernel makes it down. */
import type { ProgramBuilder } from './builder.js';
import { data, named, register } from './builder.js';
import { IOCTL } from './numbers.js';

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0x80000;
/** struct ifreq: the name's 16 bytes, then the flags. */
const IFREQ_SIZE = 40;
const IFF_UP = 0x1;
const IFF_RUNNING = 0x40;

export function setLoopbackUp(program: ProgramBuilder): void {
  const bytes = new Uint8Array(IFREQ_SIZE);
  bytes.set(Buffer.from('lo'));
  new DataView(bytes.buffer).setUint16(16, IFF_UP | IFF_RUNNING, true);
  const what = 'set the loopback interface up';
  program.call(
    what,
    'socket',
    [named(AF_INET, 'AF_INET'), named(SOCK_DGRAM | SOCK_CLOEXEC, 'SOCK_DGRAM|SOCK_CLOEXEC'), 0],
    { result: 'file' },
  );
  program.call(what, 'ioctl', [
    register('file'),
    named(IOCTL.SIOCSIFFLAGS, 'SIOCSIFFLAGS'),
    data({ bytes, text: '{lo, IFF_UP|IFF_RUNNING}' }),
  ]);
  program.close('file');
}
