/**
 * Datagram sockets with Unix addresses (unix(7)), which Node's own modules do not have: bound to a path that may be longer than an
 * address, or connected to a path or an abstract name. Datagrams are read and written by node:fs.
 */
import { chmodSync, closeSync, constants as files, openSync } from 'node:fs';
import { constants } from 'node:os';
import { basename, dirname } from 'node:path';
import { SystemError } from './errors.js';
import { FileDescriptor } from './fd.js';
import { check, socket } from './libc.js';
import { rawBind } from './unix-listener.js';
import { rawConnect } from './unix-socket.js';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
/** struct sockaddr_un: family u16, then the path. */
const PATH_SIZE = 108;

function open(name: string, flags: number): FileDescriptor {
  return new FileDescriptor(
    check(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | flags, 0), 'socket', name),
    name,
  );
}

/** A name that begins with `@` is an abstract one, whose length counts. @throws SystemError ENAMETOOLONG */
function addressOf(name: string, call: string): Uint8Array {
  const bytes = Buffer.from(name);
  const abstract = name.startsWith('@');
  if (bytes.length >= PATH_SIZE) throw new SystemError(call, name, constants.errno.ENAMETOOLONG);
  const address = new Uint8Array(2 + bytes.length + (abstract ? 0 : 1));
  address[0] = AF_UNIX;
  address.set(bytes, 2);
  if (abstract) address[2] = 0;
  return address;
}

/** Receives at `path` what everybody may send who can reach it; reading does not wait. @throws SystemError (EADDRINUSE) */
export function bindDatagram(path: string): FileDescriptor {
  const fd = open(path, SOCK_NONBLOCK);
  const folder = openSync(dirname(path), files.O_RDONLY | files.O_DIRECTORY);
  try {
    // The folder's path may be too long for an address.
    const address = addressOf(`/proc/self/fd/${folder}/${basename(path)}`, 'bind');
    check(rawBind(fd.fd, address, address.length), 'bind', path);
    chmodSync(path, 0o777);
    return fd;
  } catch (error) {
    fd[Symbol.dispose]();
    throw error;
  } finally {
    closeSync(folder);
  }
}

/** @param name a path, or `@` and an abstract name @throws SystemError (ECONNREFUSED) */
export function connectDatagram(name: string): FileDescriptor {
  const address = addressOf(name, 'connect');
  const fd = open(name, 0);
  try {
    check(rawConnect(fd.fd, address, address.length), 'connect', name);
    return fd;
  } catch (error) {
    fd[Symbol.dispose]();
    throw error;
  }
}
