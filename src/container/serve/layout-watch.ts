/**
 * The cgroup layout of callers that are in this process's mount namespace, without reading all mounts for each of them: /proc/self/mountinfo
 * says when they have changed (proc(5)).
 */
import { constants, readFileSync } from 'node:fs';
import { FileDescriptor } from '../../sys/fd.js';
import { hasChanged } from '../../sys/mount-events.js';
import { type CgroupLayout, parseLayout } from '../cgroup/layout.js';

const MOUNTS = '/proc/self/mountinfo';
/** Callers in cgroups of their own come and go. */
const MAX_LAYOUTS = 64;

export class LayoutWatch implements Disposable {
  readonly #events = FileDescriptor.open(MOUNTS, constants.O_RDONLY);
  #mountinfo: string | undefined;
  readonly #layouts = new Map<string, CgroupLayout>();

  /** As readLayout of a process that has this one's mounts. @throws CgroupLayoutError, or the errno of a caller that has ended */
  layoutOf(pid: number): CgroupLayout {
    if (this.#mountinfo === undefined || hasChanged(this.#events.fd)) {
      this.#layouts.clear();
      this.#mountinfo = readFileSync(MOUNTS, 'utf8');
    }
    const cgroup = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
    const known = this.#layouts.get(cgroup);
    if (known !== undefined) return known;
    const layout = parseLayout({
      mountinfo: this.#mountinfo,
      cgroup,
      controllers: (mountPoint) => readFileSync(`${mountPoint}/cgroup.controllers`, 'utf8'),
    });
    // The controllers of cgroup2 may change without a mount.
    if (layout.v2 === undefined && this.#layouts.size < MAX_LAYOUTS) this.#layouts.set(cgroup, layout);
    return layout;
  }

  [Symbol.dispose](): void {
    this.#events[Symbol.dispose]();
  }
}
