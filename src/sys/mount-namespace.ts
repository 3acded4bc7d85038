/**
 * Mount namespaces (mount_namespaces(7)) entered by this thread, which is Node's main one: what it does synchronously meanwhile, and the programs
 * that it starts, are in there; other threads stay where they are. From the first time on it has a working directory of its own.
 */
import { constants } from 'node:fs';
import { FileDescriptor } from './fd.js';
import { bindMount, check, exitNow, setns, unshare } from './libc.js';
import { makeReadonly } from './mount.js';

const CLONE_FS = 0x200;
const CLONE_NEWNS = 0x2_0000;
const MS_BIND = 4096;
const MS_REC = 16384;
const MS_PRIVATE = 1 << 18;
const MS_SLAVE = 1 << 19;

/** A namespace to come back to. */
class Outside implements Disposable {
  readonly #namespace = FileDescriptor.open('/proc/thread-self/ns/mnt', constants.O_RDONLY);
  readonly #cwd = process.cwd();
  #left = false;

  /** @param leave enters another; throws when it has not */
  leave(leave: () => void): void {
    leave();
    this.#left = true;
  }

  [Symbol.dispose](): void {
    if (this.#left) {
      if (setns(this.#namespace.fd, CLONE_NEWNS) === -1) {
        // Everything that this process did from here on would happen in a world that is not its own.
        process.stderr.write('tvmm: cannot return to its own mount namespace\n');
        exitNow(125);
      }
      // setns(2) leaves the thread in the root folder.
      process.chdir(this.#cwd);
    }
    this.#left = false;
    this.#namespace[Symbol.dispose]();
  }
}

/** A copy of our mount namespace: what is mounted in it is nobody else's, and goes with the last process in it. Disposing goes back. */
export class PrivateMounts implements Disposable {
  readonly #outside = new Outside();

  /** @throws SystemError (EPERM) */
  constructor() {
    try {
      const hint = 'making a mount namespace needs CAP_SYS_ADMIN';
      this.#outside.leave(() => check(unshare(CLONE_NEWNS), 'unshare', 'CLONE_NEWNS', hint));
      check(bindMount('none', '/', null, MS_REC | MS_SLAVE, null), 'mount', '/ (rslave)');
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Binds `source`, with what is mounted below, at `target`; what is mounted there later leaves this namespace no way. @throws SystemError */
  bind(source: string, target: string): void {
    check(bindMount(source, target, null, MS_BIND | MS_REC, null), 'mount', `${source} at ${target}`);
    check(bindMount('none', target, null, MS_REC | MS_PRIVATE, null), 'mount', `${target} (rprivate)`);
  }

  [Symbol.dispose](): void {
    this.#outside[Symbol.dispose]();
  }
}

/** Makes the root of another mount namespace read-only. @param path `/proc/PID/ns/mnt` @throws SystemError */
export function makeRootReadonly(path: string): void {
  using target = FileDescriptor.open(path, constants.O_RDONLY);
  using outside = new Outside();
  // A thread that shares its working directory may not enter one.
  check(unshare(CLONE_FS), 'unshare', 'CLONE_FS');
  outside.leave(() => check(setns(target.fd, CLONE_NEWNS), 'setns', path));
  makeReadonly('/');
}
