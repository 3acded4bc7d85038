/**
 * Creates of containers that break at a chosen step of their launch plan, without anything in the product that would help: the plan is
 * compiled as ever and gets steps put into it. One that fails, one that ends its process at once (a seccomp filter that kills, since the first
 * process of a pid namespace does not hear its own SIGKILL), or one that tells the engine where the launch stands, and waits.
 */
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { compileCreate } from '../../src/container/compile/create.js';
import type { CallStep, Plan, Step, Struct } from '../../src/container/plan/plan.js';
import { createContainer } from '../../src/container/runtime/create.js';
import { driveUntil, startLaunch } from '../../src/container/runtime/drive.js';
import type { RuntimeEnvironment } from '../../src/container/runtime/environment.js';
import { prepareCreate } from '../../src/container/runtime/prepare.js';
import { Runtime } from '../../src/container/runtime/runtime.js';
import { OciTest } from './oci.js';

/** A place in a plan: before that step of that program. */
export interface Place {
  readonly program: number;
  readonly step: number;
}

/** What happens there. */
export type Fault = 'fails' | 'dies' | 'engine dies';

const STANDS_HERE = 98;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_SET_MODE_FILTER = 1;

const call = (name: string, args: CallStep['arguments']): Step => ({
  op: 'call',
  what: 'die',
  call: name,
  arguments: args,
});

/** BPF_RET with SECCOMP_RET_KILL_PROCESS, as a struct sock_fprog. */
function killingFilter(): Struct {
  const filter: Struct = { bytes: Uint8Array.of(6, 0, 0, 0, 0, 0, 0, 0x80) };
  return { bytes: Uint8Array.of(1, ...Array<number>(15).fill(0)), pointers: [{ at: 8, to: filter }] };
}

const FAULTS: Readonly<Record<Fault, () => Step[]>> = {
  fails: () => [
    {
      op: 'expect',
      what: 'do what is broken',
      from: { bytes: Uint8Array.of(0) },
      at: 0,
      size: 1,
      equals: 1,
      error: 'EIO',
    },
  ],
  dies: () => [
    call('prctl', [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]),
    call('seccomp', [SECCOMP_SET_MODE_FILTER, 0, { data: killingFilter() }]),
    call('getpid', []),
  ],
  'engine dies': () => [
    { op: 'send', what: 'tell where it stands', tag: STANDS_HERE },
    { op: 'receive', what: 'wait for an engine that is gone', tag: STANDS_HERE },
  ],
};

export function broken(plan: Plan, { program, step }: Place, fault: Fault): Plan {
  const programs = plan.programs.map((one, index) =>
    index === program ? { ...one, steps: one.steps.toSpliced(step, 0, ...FAULTS[fault]()) } : one,
  );
  return { ...plan, programs };
}

/** An OCI test whose containers are made in this process. */
export class BrokenCreates extends OciTest {
  readonly environment: RuntimeEnvironment = {
    root: this.state,
    cgroupManager: 'cgroupfs',
    rootless: false,
    log: { debug: () => {}, warn: (message) => this.warnings.push(message) },
  };
  readonly warnings: string[] = [];
  readonly runtime = new Runtime(this.environment);
  /** All processes of a launch have it as stdin, which tells them from other people's. */
  readonly #stdin = openSync(this.folder, 'r');

  /** The plan of a bundle. */
  async plan(bundle: string): Promise<Plan> {
    const prepared = await prepareCreate(this.#environment(), 'look', { bundle, waitForStart: true });
    await prepared.rollback();
    return prepared.plan;
  }

  /** Where set, no process is in the container's cgroup, where it would be found. */
  withoutCgroup = false;

  #environment(place?: Place, fault: Fault = 'fails'): RuntimeEnvironment {
    return {
      ...this.environment,
      compile: (bundle, { cgroup, ...context }) => {
        const placed = this.withoutCgroup || cgroup === undefined ? context : { ...context, cgroup };
        const plan = compileCreate(bundle.spec, placed);
        return place === undefined ? plan : broken(plan, place, fault);
      },
    };
  }

  /** @throws what create throws */
  async create(id: string, bundle: string, place?: Place, fault: Fault = 'fails'): Promise<void> {
    const environment = this.#environment(place, fault);
    await createContainer(environment, id, { bundle, stdio: [this.#stdin, 1, 2] });
  }

  /**
   * A create whose engine is gone when the launch comes to `place`, or, without one, after the first `events` of its messages: descriptors
   * closed, lock free, nothing taken back.
   *
   * @returns false when the launch never came there
   */
  async abandoned(
    id: string,
    bundle: string,
    at: Place | { readonly events: number; readonly handled: boolean },
  ): Promise<boolean> {
    const environment = this.#environment('program' in at ? at : undefined, 'engine dies');
    const prepared = await prepareCreate(environment, id, { bundle, waitForStart: true });
    const launched = startLaunch(prepared.plan, { stdio: [this.#stdin, 1, 2] });
    prepared.furnish((tag) => launched.answer(tag));
    let seen = 0;
    let reached = false;
    const handle = async (tag: number, value: number) => {
      const last = !('program' in at) && ++seen === at.events;
      if (tag !== STANDS_HERE && !(last && !at.handled)) {
        const answer = await prepared.handle(tag, value);
        if (!last) return answer;
        if (answer !== undefined) launched.answer(tag, answer);
      }
      reached = true;
      return undefined;
    };
    try {
      await driveUntil(launched, handle, () => reached || prepared.ready);
      // What the launch can still do before it notices.
      if (!('program' in at)) await delay(20);
    } finally {
      launched.release();
      prepared.lock[Symbol.dispose]();
      launched.wait();
    }
    return reached;
  }

  /** Everything that is left a moment later. */
  async leftLater(): Promise<string[]> {
    for (let tries = 0; tries < 200 && this.left().length > 0; tries++) await delay(5);
    return this.left();
  }

  override left(): string[] {
    return [...super.left(), ...this.launched()];
  }

  /** The processes of launches. */
  launched(): string[] {
    return readdirSync('/proc').flatMap((pid) => {
      if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
      try {
        return readlinkSync(join('/proc', pid, 'fd/0')) === this.folder ? [`process ${pid} of a launch`] : [];
      } catch {
        return [];
      }
    });
  }

  override async end(): Promise<void> {
    await super.end();
    closeSync(this.#stdin);
  }
}
