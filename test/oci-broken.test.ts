/**
 * A create that breaks at every step of its launch: the step fails, its process is killed, or the engine is. Nothing stays, at once or after
 * the next command, and that one works. Each run of the gate takes every so-manieth step, another share of them from day to day; with
 * TVMM_TEST_EVERY_STEP=1 all of them.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BrokenCreates, type Place } from './support/broken-create.js';
import { needs } from './support/needs.js';
import type { Config } from './support/oci.js';
import { todaysShare } from './support/todays-share.js';

let t: BrokenCreates;
beforeEach((context) => {
  needs(context, 'root');
  t = new BrokenCreates();
});
afterEach(() => t.end());

/** All that a plan may have, and of what it has hundreds of, a few. */
function change(config: Config): void {
  config.linux.maskedPaths = ['/proc/kcore', '/sys/firmware'];
  config.linux.readonlyPaths = ['/proc/sys'];
  config.mounts = config.mounts.filter((mount: Config) =>
    ['/proc', '/dev', '/sys', '/dev/pts'].includes(mount.destination),
  );
  config.mounts.push({
    destination: '/tmp',
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['tmpcopyup', 'size=1m'],
  });
  config.linux.devices = [{ path: '/dev/null2', type: 'c', major: 1, minor: 3 }];
  config.linux.sysctl = { 'net.ipv4.ip_forward': '1' };
  config.linux.resources = { pids: { limit: 100 }, devices: [{ allow: false, access: 'rwm' }] };
  config.linux.seccomp = {
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [{ names: ['mkdirat'], action: 'SCMP_ACT_ERRNO' }],
  };
  const hook = [{ path: '/bin/true' }];
  config.hooks = { prestart: hook, createRuntime: hook, createContainer: hook };
  const all = ['CAP_CHOWN', 'CAP_KILL'];
  config.process.capabilities = { bounding: all, effective: all, permitted: all };
}

const WITH_USER_NAMESPACE = (config: Config) => {
  change(config);
  // They would have to be the host's.
  config.linux.devices = [];
  config.linux.namespaces.push({ type: 'user' }, { type: 'time' });
  config.linux.timeOffsets = { monotonic: { secs: 100, nanosecs: 0 } };
  config.linux.uidMappings = config.linux.gidMappings = [{ containerID: 0, hostID: 100000, size: 65536 }];
};

async function places(bundle: string): Promise<Place[]> {
  const { programs } = await t.plan(bundle);
  // Each step once: what a capability's drop does, its neighbours show.
  const all = programs.flatMap(({ steps }, program) =>
    steps.map((one, step) => ({ program, step, what: one.op === 'label' ? 'label' : one.what })),
  );
  const seen = new Set<string>();
  const kinds = all
    .filter(({ what, program }) => {
      const kind = what.replace(/CAP_\w+/, 'CAP').replace(/\d+/g, 'N');
      if (!kind.includes('CAP') && what !== 'label') return true;
      const known = seen.has(`${program} ${kind}`);
      seen.add(`${program} ${kind}`);
      return !known;
    })
    .map(({ program, step }) => ({ program, step }));
  return todaysShare(kinds);
}

for (const [name, changed] of [
  ['in six namespaces', change],
  ['in a user namespace with clocks of its own', WITH_USER_NAMESPACE],
] as const) {
  for (const fault of ['fails', 'dies'] as const) {
    test(`a create ${name} leaves nothing, whichever step ${fault}`, async () => {
      const bundle = await t.bundle('sleep 1000', changed);
      let reached = 0;
      for (const place of await places(bundle)) {
        const outcome = await t.create('one', bundle, place, fault).then(
          () => 'created',
          (error: unknown) => String(error),
        );
        const where = `${fault} at step ${place.step} of program ${place.program}: ${outcome}`;
        if (outcome === 'created') {
          // A step that was jumped over, or stands behind the wait for start.
          await t.runtime.delete('one', { force: true });
        } else {
          reached++;
          expect(outcome, where).toMatch(
            fault === 'fails' ? /do what is broken: .*EIO/ : /launch|container|stage|init|maps/,
          );
        }
        expect(await t.leftLater(), where).toEqual([]);
      }
      expect(reached).toBeGreaterThan(5);
      expect(t.warnings).toEqual([]);
      await t.create('one', bundle);
      await t.runtime.delete('one', { force: true });
      expect(await t.leftLater()).toEqual([]);
    });
  }

  test(`what a create ${name} whose engine dies has left goes with the next command, whichever step it was at`, async () => {
    const bundle = await t.bundle('sleep 1000', changed);
    let reached = 0;
    for (const [index, place] of (await places(bundle)).entries()) {
      const where = `at step ${place.step} of program ${place.program}`;
      if (await t.abandoned('one', bundle, place)) reached++;
      if (index % 2 === 0) {
        await t
          .create('one', bundle)
          .catch((error: unknown) => expect(String(error), where).toMatch(/already exists/));
        await t.runtime.start('one');
      }
      await t.runtime.delete('one', { force: true });
      expect(await t.leftLater(), where).toEqual([]);
    }
    expect(reached).toBeGreaterThan(5);
  });

  test(`so it does ${name} whichever message was the last that the engine heard`, async () => {
    const bundle = await t.bundle('sleep 1000', changed);
    for (let events = 1, more = true; more && events < 20; events++) {
      for (const handled of [false, true]) {
        more = await t.abandoned('one', bundle, { events, handled });
        const where = `after ${events} messages, the last ${handled ? '' : 'not '}handled`;
        await t.runtime.delete('one', { force: true });
        expect(await t.leftLater(), where).toEqual([]);
      }
    }
  });
}

test('a first process that nobody has taken note of ends by itself, where it could not be found by its cgroup', async () => {
  t.withoutCgroup = true;
  const bundle = await t.bundle('sleep 1000');
  const [launcher] = (await t.plan(bundle)).programs;
  const tells = launcher?.steps.findIndex((step) => step.op === 'send') ?? -1;
  expect(tells).toBeGreaterThan(0);
  await expect(t.create('one', bundle, { program: 0, step: tells }, 'dies')).rejects.toThrow(/launch/);
  expect(await t.leftLater()).toEqual([]);
  for (const at of [
    { program: 0, step: tells },
    { events: 1, handled: false },
  ]) {
    expect(await t.abandoned('one', bundle, at)).toBe(true);
    for (let tries = 0; tries < 200 && t.launched().length > 0; tries++)
      await new Promise((done) => setTimeout(done, 10));
    expect(t.launched(), JSON.stringify(at)).toEqual([]);
    await t.runtime.delete('one', { force: true });
    expect(await t.leftLater()).toEqual([]);
  }
});
