/** Whole plans as they are printed, compared with the files in golden/. `npx vitest run -u src/container/compile` writes them anew. */
import { describe, expect, it } from 'vitest';
import { encodePlan } from '../plan/encode.js';
import type { Plan } from '../plan/plan.js';
import { printPlan } from '../plan/print.js';
import { compileCreate } from './create.js';
import { compileExec } from './exec.js';
import {
  cgroupV1,
  cgroupV2,
  createContext,
  execContext,
  host,
  minimal,
  podmanLike,
  seccompOf,
  userNamespace,
} from './testing/fixtures.js';

async function expectGolden(name: string, plan: Plan): Promise<void> {
  // What the launcher would refuse is no plan.
  expect(encodePlan(plan).length).toBeGreaterThan(0);
  await expect(printPlan(plan)).toMatchFileSnapshot(`golden/${name}.txt`);
}

const terminal = { terminal: true, consoleSize: { height: 24, width: 80 } };
const console = { path: '/run/console.sock' };

describe('the plan', () => {
  it('of the smallest container', async () => {
    await expectGolden('minimal', compileCreate(minimal(), createContext()));
  });

  it("of a container as podman's defaults ask for, on cgroup v2", async () => {
    const spec = podmanLike();
    const context = createContext({ cgroup: cgroupV2, control: 5, preserveFds: 2, ...seccompOf(spec) });
    await expectGolden('podman-like', compileCreate(spec, context));
  });

  it('of a container whose cgroup and network namespace are made meanwhile', async () => {
    const spec = minimal({ mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }] });
    const later = { cgroupLater: true, networkMade: true };
    await expectGolden('made-meanwhile', compileCreate(spec, createContext({ cgroup: cgroupV1, ...later })));
  });

  it('of a container that the launcher takes away when it has ended', async () => {
    const cgroups = [
      { folder: '/sys/fs/cgroup/memory/tvmm/web', parents: ['/sys/fs/cgroup/memory/tvmm'] },
      { folder: '/sys/fs/cgroup/cpu,cpuacct/web', parents: [] },
    ];
    const removal = { folder: '/run/tvmm/web', cgroups };
    await expectGolden('removed', compileCreate(minimal(), createContext({ supervise: true, removal })));
  });

  it('of a container with a terminal', async () => {
    await expectGolden('terminal', compileCreate(minimal({}, {}, terminal), createContext({ console })));
  });

  it('of a container in a user namespace, with an id-mapped volume, on cgroup v1', async () => {
    const maps = [{ containerID: 0, hostID: 5000, size: 10 }];
    const spec = minimal(
      {
        mounts: [
          { destination: '/proc', type: 'proc', source: 'proc' },
          { destination: '/data', source: '/srv/data', options: ['rbind', 'ro'] },
          {
            destination: '/mapped',
            source: 'volume',
            options: ['bind', 'idmap'],
            uidMappings: maps,
            gidMappings: maps,
          },
          { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro', 'nosuid'] },
        ],
      },
      userNamespace,
      { user: { uid: 1000, gid: 1000 }, rlimits: [{ type: 'RLIMIT_NOFILE', soft: 64, hard: 128 }] },
    );
    await expectGolden('user-namespace', compileCreate(spec, createContext({ cgroup: cgroupV1 })));
  });

  it('of a container whose namespaces are joined by path', async () => {
    const namespaces = [
      { type: 'user', path: '/proc/9/ns/user' },
      { type: 'network', path: '/run/netns/web' },
      { type: 'pid', path: '/proc/9/ns/pid' },
      { type: 'mount' },
    ];
    await expectGolden('joined-namespaces', compileCreate(minimal({}, { namespaces }), createContext()));
  });

  it('of a rootless container whose ids the engine maps', async () => {
    const rootless = { ...host, rootless: true, permitted: 0n, uid: 1000, gid: 1000 };
    await expectGolden(
      'rootless',
      compileCreate(minimal({}, userNamespace), createContext({ host: rootless })),
    );
  });

  it('of a container whose time namespace has clocks of its own inside of a user namespace', async () => {
    const linux = {
      ...userNamespace,
      namespaces: [{ type: 'user' }, { type: 'mount' }, { type: 'pid' }, { type: 'time' }],
      timeOffsets: { boottime: { secs: 86_400 } },
    };
    await expectGolden(
      'time-namespace',
      compileCreate(minimal({}, linux), createContext({ cgroup: cgroupV2 })),
    );
  });

  it('of a container without a mount namespace', async () => {
    const spec = minimal({ mounts: [] }, { namespaces: [{ type: 'pid' }] });
    await expectGolden('no-mount-namespace', compileCreate(spec, createContext()));
  });

  it('of another process with a terminal', async () => {
    const { process } = minimal({}, {}, { ...terminal, execCPUAffinity: { initial: '0', final: '0-1' } });
    if (process === undefined) throw new Error('the fixture has a process');
    const context = execContext({ cgroup: cgroupV2, console, supervise: true });
    await expectGolden('exec-terminal', compileExec(process, context));
  });

  it('is the same for the same input', () => {
    const compile = () => encodePlan(compileCreate(minimal(), createContext()));
    expect(compile()).toEqual(compile());
  });
});
