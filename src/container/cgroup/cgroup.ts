/**
 * The handle of a container's cgroup, over every hierarchy that it is in. It holds paths and no descriptors, so it needs no disposal, can
 * be saved as JSON and opened again by another process, and bears it that the cgroup is removed meanwhile. create.ts makes new ones.
 * What needs foreign calls (device programs, event watching) is imported when it is first used.
 */
import { existsSync } from 'node:fs';
import { giveTo } from './delegation.js';
import { CgroupCreateError, CgroupProcessError } from './errors.js';
import { unmake, unmakeParents } from './make.js';
import {
  attachTo,
  type FreezerState,
  freezerState,
  freezeV1,
  freezeV2,
  killAll,
  pidsOf,
  thaw,
} from './processes.js';
import { PATIENCE_MS, removeEmpty, removeFolder } from './remove.js';
import type { OciResources } from './resources.js';
import { type CgroupFolder, type CgroupState, hierarchies, isOnCgroupfs, parseCgroupState } from './state.js';
import { type CgroupStats, readStats } from './stats.js';
import type { PressureTrigger } from './watch.js';

export class Cgroup {
  /** Paths, as plain JSON: save it, and {@link Cgroup.open} it again. */
  readonly state: CgroupState;

  constructor(state: CgroupState) {
    this.state = state;
  }

  /** The cgroup that a saved state describes; it need not exist any more. @throws CgroupStateError for what is no state */
  static open(saved: unknown): Cgroup {
    return new Cgroup(parseCgroupState(saved));
  }

  get #folders(): CgroupFolder[] {
    return hierarchies(this.state);
  }

  /** The folder whose cgroup.procs tells who is in: all of them hold the same processes. */
  get #main(): string {
    const { v1, v2 } = this.state;
    const folder = (v1.devices ?? v1.pids ?? v1.memory ?? Object.values(v1)[0] ?? v2)?.folder;
    if (folder === undefined)
      throw new CgroupProcessError('the container has no cgroup of its own', {
        hint: 'It was made without permission to make cgroups: it can be neither paused nor counted.',
      });
    return folder;
  }

  /** False for a rootless container that has to do without. */
  get present(): boolean {
    return this.#folders.length > 0;
  }

  /** True while its folder exists. */
  get exists(): boolean {
    return this.present && existsSync(this.#main);
  }

  /**
   * Absolute paths of cgroup.procs: one a hierarchy. A write of any process's id moves it with all its threads, but takes a lock that
   * waits for a grace period of RCU (some 6 ms) when nobody has taken it shortly before; {@link tasks} and {@link unified} do without.
   */
  get procs(): string[] {
    return this.#folders.map(({ folder }) => `${folder}/cgroup.procs`);
  }

  /**
   * Absolute paths of the v1 hierarchies' `tasks`. A process that has one thread enters by writing `0` to each: since kernel 5.5 that
   * waits for nothing (some 20 us each). cgroup v2 has no such way; there {@link unified} is given to clone3.
   */
  get tasks(): string[] {
    return [...new Set(Object.values(this.state.v1).map(({ folder }) => `${folder}/tasks`))];
  }

  /**
   * The cgroup v2 folder, which in a hybrid layout is one more than {@link tasks}: clone3(2) takes an open descriptor of it for
   * CLONE_INTO_CGROUP, and the child is born in it, without the wait that writing to its cgroup.procs costs.
   */
  get unified(): string | undefined {
    return this.state.v2?.folder;
  }

  /** Folders by v1 controller, and `''` for cgroup v2: what `state` and `/proc/PID/cgroup` readers ask for. */
  get paths(): Readonly<Record<string, string>> {
    const v1 = Object.entries(this.state.v1).map(([controller, { folder }]) => [controller, folder]);
    const { v2 } = this.state;
    return Object.fromEntries(v2 === undefined ? v1 : [...v1, ['', v2.folder]]);
  }

  /** Moves a process with all its threads in. @throws CgroupAttachError */
  attach(pid: number): void {
    for (const { folder } of this.#folders) attachTo(folder, pid);
  }

  /**
   * Ids of its processes in this process's pid namespace; none when it is gone.
   *
   * @param recursive those of child cgroups as well
   */
  pids(recursive = true): number[] {
    return this.present ? pidsOf(this.#main, recursive) : [];
  }

  #freezer(): { folder: string; version: 1 | 2 } | undefined {
    const { v1, v2 } = this.state;
    if (v1.freezer !== undefined) return { folder: v1.freezer.folder, version: 1 };
    return v2 === undefined ? undefined : { folder: v2.folder, version: 2 };
  }

  /** Stops every process; resolves when all stand still. A failure leaves them running. @throws CgroupProcessError */
  async freeze(): Promise<void> {
    const freezer = this.#freezer();
    if (freezer === undefined)
      throw new CgroupProcessError(`cannot freeze ${this.#main}: this machine has no freezer controller`);
    await (freezer.version === 1 ? freezeV1(freezer.folder) : freezeV2(freezer.folder));
  }

  /** Lets them go on. @throws CgroupProcessError */
  thaw(): void {
    const freezer = this.#freezer();
    if (freezer !== undefined) thaw(freezer.folder, freezer.version);
  }

  /** Whether it is frozen itself; `undefined` when it is gone. */
  freezerState(): FreezerState {
    const freezer = this.#freezer();
    return freezer === undefined ? 'undefined' : freezerState(freezer.folder, freezer.version);
  }

  /** Kills every process in it and below, also when it is frozen; resolves when they are gone. @throws CgroupProcessError */
  async kill(): Promise<void> {
    if (!this.present) return;
    const freezer =
      this.#freezer() === undefined ? undefined : { freeze: () => this.freeze(), thaw: () => this.thaw() };
    await killAll(this.#main, this.unified, freezer);
  }

  /** As {@link kill}, in each hierarchy: a process that was killed or failed half-way may have entered one alone. @throws CgroupProcessError */
  async killEverywhere(): Promise<void> {
    for (const { folder } of this.#folders) await killAll(folder, undefined, undefined);
  }

  /** Counters of all controllers. @throws CgroupStatsError when it is gone */
  stats(): CgroupStats {
    return readStats(this.state);
  }

  /** Changes the limits that `resources` name; the others stay. @throws CgroupLimitError, CgroupDevicesError */
  async update(resources: OciResources): Promise<void> {
    const { applyResources } = await import('./apply.js');
    applyResources(this.state, resources);
  }

  /** Calls back each time it runs out of memory, until disposed of. @throws CgroupStatsError */
  async watchOom(onOom: () => void): Promise<Disposable> {
    return (await import('./watch.js')).watchOom(this.state, onOom);
  }

  /** Calls back when its processes wait for a resource for too long, until disposed of. @throws CgroupStatsError */
  async watchPressure(trigger: PressureTrigger, onPressure: () => void): Promise<Disposable> {
    return (await import('./watch.js')).watchPressure(this.state, trigger, onPressure);
  }

  /** Gives its v2 folder to the user inside (config-linux.md, "Cgroup ownership"); nothing on v1. @throws CgroupCreateError */
  giveTo(uid: number, gid: number): void {
    if (this.state.v2 !== undefined) giveTo(this.state.v2.folder, uid, gid);
  }

  /**
   * Removes it in every hierarchy, with what the container made below it and with the parents that were made for it and are empty.
   * What is gone already is fine. @throws CgroupRemoveError after having tried every hierarchy
   */
  async remove(): Promise<void> {
    const failures: unknown[] = [];
    const deadline = Date.now() + PATIENCE_MS;
    for (const { folder } of this.#folders) {
      try {
        await removeFolder(folder, deadline);
      } catch (error) {
        failures.push(error);
      }
    }
    // A plan of which only a part was carried out, and then the parents that are others' too.
    const folders = this.#folders.map(({ folder }) => folder);
    unmake(this.state.made.filter((one) => !folders.includes(one) && isOnCgroupfs(one)));
    for (const place of this.#folders) unmakeParents(place);
    if (failures.length > 0) throw failures[0];
  }

  /**
   * Removes it at once where this process has made it just now and nothing is in it any more, for which it is not asked.
   *
   * @returns false when it holds something: {@link kill} and {@link remove} are what is left then
   */
  removeEmpty(): boolean {
    const folders = this.#folders.map(({ folder }) => folder);
    if (!folders.every(removeEmpty)) return false;
    unmake(this.state.made.filter((one) => !folders.includes(one)));
    for (const place of this.#folders) unmakeParents(place);
    return true;
  }

  /** @throws CgroupCreateError when it cannot take a new container: another one's processes are in it, or it is frozen */
  refuseInUse(): void {
    const pids = this.pids();
    if (pids.length > 0)
      throw new CgroupCreateError(
        `container's cgroup is not empty: ${this.#main} already holds ${pids.length === 1 ? 'process' : 'processes'} ${pids.slice(0, 10).join(', ')}`,
        { hint: 'Another container uses it: give this one a cgroupsPath of its own.' },
      );
    if (this.freezerState() === 'frozen')
      throw new CgroupCreateError(
        `container's cgroup unexpectedly frozen: nothing would run in ${this.#freezer()?.folder}`,
        {
          hint: 'Thaw it, or give this container a cgroupsPath of its own.',
        },
      );
  }
}
