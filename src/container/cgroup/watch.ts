/**
 * Events of a cgroup: out of memory (v1: an eventfd through cgroup.event_control, memory.rst section 10; v2: memory.events, which the
 * kernel notifies to inotify), and pressure triggers (Documentation/accounting/psi.rst). koffi's poll watches a descriptor on libuv's
 * loop; it knows no POLLPRI, so an epoll descriptor stands between.
 */
import { constants, type FSWatcher, readFileSync, watch } from 'node:fs';
import koffi from 'koffi';
import { EPOLLERR, EPOLLPRI, Epoll } from '../../sys/epoll.js';
import { createEventfd, drainEventfd } from '../../sys/eventfd.js';
import { FileDescriptor } from '../../sys/fd.js';
import { check, write } from '../../sys/libc.js';
import { CgroupStatsError, cgroupHint, errnoOf } from './errors.js';
import { FolderFiles, readOptional } from './files.js';
import { parseKeyValues } from './parse.js';
import type { CgroupState } from './state.js';

/** Processes killed for want of memory in this cgroup; 0 where the kernel does not count them or the cgroup is gone. */
export function oomKills({ v1, v2 }: CgroupState): number {
  const file = v1.memory === undefined ? 'memory.events' : 'memory.oom_control';
  const folder = v1.memory?.folder ?? v2?.folder;
  if (folder === undefined) return 0;
  return parseKeyValues(readOptional(new FolderFiles(folder), file) ?? '').oom_kill ?? 0;
}

/**
 * Calls back each time the cgroup runs out of memory.
 *
 * @param onOom not called for the removal of the cgroup
 * @returns dispose it to stop watching; it keeps the process alive until then
 * @throws CgroupStatsError without a memory controller
 */
export function watchOom(state: CgroupState, onOom: () => void): Disposable {
  const { v1, v2 } = state;
  if (v1.memory !== undefined) return watchOomV1(v1.memory.folder, onOom);
  if (v2 === undefined) throw new CgroupStatsError('cannot watch for OOM: there is no memory controller');
  return watchOomV2(v2.folder, onOom);
}

function watchOomV1(folder: string, onOom: () => void): Disposable {
  const files = new FolderFiles(folder);
  const event = createEventfd(`OOM of ${folder}`);
  try {
    using control = FileDescriptor.open(`${folder}/memory.oom_control`, constants.O_RDONLY);
    files.write('cgroup.event_control', `${event.fd} ${control.fd}`);
  } catch (error) {
    event[Symbol.dispose]();
    throw watchError(folder, 'OOM', error);
  }
  return onReadable(event, () => {
    // Removing the cgroup signals the eventfd as well.
    if (drainEventfd(event.fd) && files.has('cgroup.event_control')) onOom();
  });
}

function watchOomV2(folder: string, onOom: () => void): Disposable {
  const count = () => parseKeyValues(readFileSync(`${folder}/memory.events`, 'utf8'));
  let watcher: FSWatcher;
  let last: number;
  try {
    last = count().oom ?? 0;
    watcher = watch(`${folder}/memory.events`, { persistent: true });
  } catch (error) {
    throw watchError(folder, 'OOM', error);
  }
  const changed = () => {
    let now = last;
    try {
      const { oom = 0, oom_kill: kills = 0 } = count();
      now = Math.max(oom, kills);
    } catch {
      watcher.close();
    }
    if (now > last) {
      last = now;
      onOom();
    }
  };
  watcher.on('change', changed);
  watcher.on('error', () => watcher.close());
  return { [Symbol.dispose]: () => watcher.close() };
}

/**
 * When a pressure trigger fires: at least `stallMicroseconds` of stall within `windowMicroseconds`: 500 ms to 10 s, and without
 * CAP_SYS_RESOURCE a multiple of 2 s.
 */
export interface PressureTrigger {
  readonly resource: 'cpu' | 'memory' | 'io';
  /** `some`: at least one process waited; `full`: all of them. */
  readonly kind: 'some' | 'full';
  readonly stallMicroseconds: number;
  readonly windowMicroseconds: number;
}

/**
 * Calls back each time a pressure trigger fires: at most once a window.
 *
 * @throws CgroupStatsError without a cgroup v2 hierarchy or without PSI in the kernel
 */
export function watchPressure(
  { v2 }: CgroupState,
  trigger: PressureTrigger,
  onPressure: () => void,
): Disposable {
  if (v2 === undefined)
    throw new CgroupStatsError('cannot watch pressure: no cgroup v2 hierarchy is mounted', {
      hint: 'Pressure stall information of cgroups is a feature of cgroup v2.',
    });
  const path = `${v2.folder}/${trigger.resource}.pressure`;
  try {
    const file = FileDescriptor.open(path, constants.O_RDWR | constants.O_NONBLOCK);
    const text = Buffer.from(`${trigger.kind} ${trigger.stallMicroseconds} ${trigger.windowMicroseconds}\0`);
    try {
      check(write(file.fd, text, text.length), 'write', path);
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
    const epoll = new Epoll();
    let gone = false;
    epoll.add(file.fd, EPOLLPRI, (events) => {
      gone = (events & EPOLLERR) !== 0;
    });
    const watching = onReadable(epoll, () => {
      // To ask consumes the event, and libuv has asked already: being woken is the event. A cgroup that is gone says so for ever.
      epoll.wait(0);
      if (gone) stop();
      else onPressure();
    });
    const stop = () => {
      watching[Symbol.dispose]();
      file[Symbol.dispose]();
    };
    return { [Symbol.dispose]: stop };
  } catch (error) {
    throw watchError(path, 'pressure', error);
  }
}

/** Calls back while a descriptor is readable, until disposed of; owns the descriptor. */
function onReadable(source: Disposable & { readonly fd: number }, callback: () => void): Disposable {
  let open = true;
  const handle = koffi.node.poll(source.fd, { readable: true }, () => {
    if (open) callback();
  });
  return {
    [Symbol.dispose]() {
      if (!open) return;
      open = false;
      handle.close();
      source[Symbol.dispose]();
    },
  };
}

function watchError(path: string, what: string, cause: unknown): CgroupStatsError {
  const errno = errnoOf(cause);
  return new CgroupStatsError(`cannot watch ${path} for ${what}: ${errno || String(cause)}`, {
    hint:
      errno === 'EOPNOTSUPP'
        ? 'The kernel was started with psi=0.'
        : errno === 'EINVAL' && what === 'pressure'
          ? 'The window is 0.5 to 10 s, and without CAP_SYS_RESOURCE a multiple of 2 s.'
          : cgroupHint(errno),
    cause,
  });
}
