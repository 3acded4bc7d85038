/** What conmon and containerd's shim are to a runtime: a Unix socket that is sent a terminal's master side. */
import { constants } from 'node:fs';
import { FileDescriptor } from '../../src/sys/fd.js';
import { check, declare, fcntl, type Pointer, read, socket, write } from '../../src/sys/libc.js';
import { receiveDescriptor } from '../../src/sys/unix-socket.js';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const F_SETFL = 4;

const bind = declare<(fd: number, address: Pointer, length: number) => number>('bind', 'int', [
  'int',
  'void *',
  'unsigned int',
]);
const listen = declare<(fd: number, backlog: number) => number>('listen', 'int', ['int', 'int']);
const accept = declare<(fd: number, address: null, length: null) => number>('accept', 'int', [
  'int',
  'void *',
  'void *',
]);

export class ConsoleListener implements Disposable {
  readonly #socket: FileDescriptor;

  constructor(readonly path: string) {
    const address = new Uint8Array(110);
    address[0] = AF_UNIX;
    address.set(Buffer.from(path), 2);
    this.#socket = new FileDescriptor(
      check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), 'socket', path),
      path,
    );
    check(bind(this.#socket.fd, address, address.length), 'bind', path);
    check(listen(this.#socket.fd, 1), 'listen', path);
  }

  /** The descriptor that somebody has sent already. */
  take(): FileDescriptor {
    using connection = new FileDescriptor(
      check(accept(this.#socket.fd, null, null), 'accept', this.path),
      this.path,
    );
    const descriptor = receiveDescriptor(connection.fd, 'the terminal');
    if (descriptor === undefined) throw new Error('no descriptor came');
    check(fcntl(descriptor.fd, F_SETFL, constants.O_NONBLOCK), 'fcntl', 'the terminal');
    return descriptor;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** Reads from a terminal's master side until `wanted` has come. */
export async function readUntil(master: FileDescriptor, wanted: string): Promise<string> {
  let text = '';
  const buffer = Buffer.alloc(4096);
  for (let tries = 0; tries < 500; tries++) {
    const got = read(master.fd, buffer, buffer.length);
    if (got > 0) text += buffer.toString('utf8', 0, got);
    if (text.includes(wanted)) return text;
    await new Promise((done) => setTimeout(done, 10));
  }
  throw new Error(`${JSON.stringify(wanted)} does not come: ${JSON.stringify(text)}`);
}

export function type(master: FileDescriptor, text: string): void {
  check(write(master.fd, Buffer.from(text), Buffer.byteLength(text)), 'write', 'the terminal');
}
