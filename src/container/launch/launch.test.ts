import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { needs } from '../../../test/support/needs.js';
import { createPipe, readToEnd } from '../../sys/pipe.js';
import type { Plan, Step } from '../plan/plan.js';
import { LaunchError } from './errors.js';
import { Launch } from './launch.js';
import {
  CLONE_NEWUSER,
  call,
  clone,
  containerPlan,
  exec,
  makeRoot,
  SIX_NAMESPACES,
  single,
  TAG_GO,
  TAG_PID,
} from './testing.js';

let root = '';
beforeAll(() => {
  root = makeRoot();
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach((context) => needs(context, 'root'));

/** Runs a container plan; its exit status and what it wrote to stdout. */
function run(plan: Plan, onPid: (pid: number) => void = () => {}) {
  const { reader, writer } = createPipe('stdout');
  using _ = reader;
  using launch = Launch.start(plan, { stdio: [0, writer.fd, 2] });
  writer[Symbol.dispose]();
  const status = launch.finish((event) => {
    if (event.kind !== 'sent' || event.tag !== TAG_PID) return;
    onPid(event.value);
    launch.answer(TAG_GO);
  });
  return { status, output: Buffer.from(readToEnd(reader.fd, 10_000)).toString() };
}

function failure(plan: Plan): LaunchError {
  try {
    run(plan);
  } catch (error) {
    if (error instanceof LaunchError) return error;
    throw error;
  }
  throw new Error('the launch did not fail');
}

/** Whether a process exists that is no zombie. */
function lives(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

async function untilGone(pid: number): Promise<void> {
  while (lives(pid)) await new Promise((resolve) => setTimeout(resolve, 10));
}

test('a program runs behind six new namespaces and a new root, and its exit status comes back', () => {
  const script = 'echo $$ $(hostname); ls /; exit 5';
  const { status, output } = run(containerPlan(root, ['/bin/sh', '-c', script]));
  expect(output).toBe('1 inside\nbin\nproc\ntmp\n');
  expect(status).toBe(5);
});

test('the container gets no descriptor but its stdio', () => {
  // ls has one more: the folder that it reads.
  expect(run(containerPlan(root, ['/bin/ls', '/proc/self/fd'])).output).toBe('0\n1\n2\n3\n');
});

test('user namespace: the engine writes the id maps while init waits', () => {
  const plan = containerPlan(root, ['/bin/id'], {
    flags: SIX_NAMESPACES | CLONE_NEWUSER,
    before: [call('setgroups', [0, 0]), call('setresgid', [7, 7, 7]), call('setresuid', [8, 8, 8])],
  });
  const { output, status } = run(plan, (pid) => {
    writeFileSync(`/proc/${pid}/uid_map`, '0 0 65536');
    writeFileSync(`/proc/${pid}/gid_map`, '0 0 65536');
  });
  expect({ output, status }).toEqual({ output: 'uid=8 gid=7\n', status: 0 });
});

/** Runs a shell script that says when it is ready, does `act` then, and gives the exit status and the wait status that the engine hears. */
function interrupt(script: string, act: (launcher: number, init: number) => void) {
  const { reader, writer } = createPipe('stdout');
  using _ = reader;
  using launch = Launch.start(containerPlan(root, ['/bin/sh', '-c', script]), { stdio: [0, writer.fd, 2] });
  writer[Symbol.dispose]();
  let waitStatus: number | undefined;
  const status = launch.finish((event) => {
    if (event.kind === 'ended') waitStatus = event.waitStatus;
    if (event.kind !== 'sent' || event.tag !== TAG_PID) return;
    launch.answer(TAG_GO);
    expect(Buffer.from(readToEnd(reader.fd, 'ready\n'.length)).toString()).toBe('ready\n');
    act(launch.pid, event.value);
  });
  return { status, waitStatus };
}

test('a signal to the launcher goes on to the container', () => {
  const script = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.01; done";
  expect(interrupt(script, (launcher) => process.kill(launcher, 'SIGTERM'))).toEqual({
    status: 42,
    waitStatus: 42 << 8,
  });
});

test('a signal that ends the container is 128 and its number, and the engine hears the wait status', () => {
  const script = 'echo ready; exec sleep 100';
  expect(interrupt(script, (_, init) => process.kill(init, 'SIGKILL'))).toEqual({
    status: 137,
    waitStatus: 9,
  });
});

test('a step that fails in init is a sentence that names the step, the call and the errno', () => {
  const step = call(
    'mount',
    ['/no/source', '/tmp', { value: 0, text: 'NULL' }, { value: 4096, text: 'MS_BIND' }, 0],
    {
      what: 'mount /no/source at /tmp',
      hint: 'the source must exist on the host',
    },
  );
  const error = failure(containerPlan(root, ['/bin/true'], { before: [step] }));
  expect(error.message).toBe(
    'cannot mount /no/source at /tmp: mount("/no/source", "/tmp", NULL, MS_BIND, 0): ENOENT',
  );
  expect(error).toMatchObject({
    code: 'ENOENT',
    hint: 'the source must exist on the host',
    program: 'init',
    exitStatus: 125,
  });
});

test('a failure in the launcher ends the container that it has begun', async () => {
  const plan = containerPlan(root, ['/bin/sleep', '100']);
  const [launcher, init] = plan.programs;
  const steps = launcher?.steps.slice(0, 2) ?? [];
  let pid = 0;
  const broken: Plan = {
    ...plan,
    programs: [{ name: 'launcher', steps: [...steps, call('chdir', ['/no'])] }, ...(init ? [init] : [])],
  };
  expect(() => run(broken, (value) => (pid = value))).toThrow(/chdir\("\/no"\): ENOENT/);
  expect(pid).toBeGreaterThan(0);
  await untilGone(pid);
});

test('a child by CLONE_PARENT talks to the launcher, which supervises it', () => {
  const plan: Plan = {
    inherited: { control: 3 },
    programs: [
      {
        name: 'launcher',
        steps: [
          clone('stage', 0n, { result: 'stage' }),
          { op: 'receive', what: 'wait for stage', tag: 1, peer: 'stage', result: 'init' },
          { op: 'receive', what: 'wait for init', tag: 2, peer: 'init', result: 'said' },
          { op: 'send', what: 'pass it on', tag: 3, register: 'said' },
          { op: 'supervise', what: 'wait', child: 'init', reap: true, tag: 4 },
        ],
      },
      {
        name: 'stage',
        steps: [
          clone('init', 0x8000n, { result: 'child' }),
          { op: 'send', what: 'tell the pid', tag: 1, peer: 'launcher', register: 'child' },
          { op: 'send', what: 'let it go on', tag: 5, peer: 'init' },
        ],
      },
      {
        name: 'init',
        steps: [
          { op: 'receive', what: 'wait for stage', tag: 5, peer: 'stage' },
          call('getppid', [], { result: 'parent' }),
          { op: 'send', what: 'tell the parent', tag: 2, peer: 'launcher', register: 'parent' },
          { op: 'exit', what: 'end', status: 33 },
        ],
      },
    ],
  };
  using launch = Launch.start(plan);
  let parent = 0;
  expect(
    launch.finish((event) => {
      if (event.kind === 'sent') parent = event.value;
    }),
  ).toBe(33);
  expect(parent).toBe(launch.pid);
});

test('a process that fails is noticed, though a sibling that waits for the launcher holds its socket', () => {
  const plan: Plan = {
    inherited: { control: 3 },
    programs: [
      {
        name: 'launcher',
        steps: [
          clone('stage', 0n, { result: 'stage' }),
          { op: 'receive', what: 'wait for stage', tag: 1, peer: 'stage', result: 'init' },
          { op: 'send', what: 'let init go on', tag: 2, peer: 'stage' },
        ],
      },
      { name: 'stage', steps: [clone('init', 0x8000n, { result: 'child' }), call('close', [-1])] },
      {
        name: 'init',
        steps: [{ op: 'receive', what: 'wait for the launcher', tag: 2, peer: 'launcher' }],
      },
    ],
  };
  using launch = Launch.start(plan);
  expect(() => launch.finish()).toThrow('call close: close(-1): EBADF');
});

test('an init that is killed is told by how it ended', () => {
  const kill = call('kill', [{ register: 'pid' }, 9]);
  const plan: Plan = {
    inherited: { control: 3 },
    programs: [
      {
        name: 'launcher',
        steps: [clone('init'), kill, { op: 'receive', what: 'wait for init', tag: 1, peer: 'init' }],
      },
      { name: 'init', steps: [call('nanosleep', [{ data: { bytes: timespec(100) } }, 0])] },
    ],
  };
  expect(failure(plan).message).toBe(
    'cannot wait for init: receive(init, 1): init is gone (killed by SIGKILL)',
  );
});

test.each([
  ['a program that does not exist', ['/bin/nothing'], 127, 'ENOENT'],
  ['a program that is a folder', ['/bin'], 126, 'EACCES'],
] as const)('%s fails the exec step with the status that shells give', (_, argv, status, code) => {
  const error = failure(containerPlan(root, argv));
  expect(error).toMatchObject({ code, exitStatus: status, program: 'init' });
});

test.each([
  ['while the engine owes an answer', 0],
  ['while init is between two steps', 1],
])('an engine that dies %s leaves no process behind', async (_, answers) => {
  const forever: Step = call('nanosleep', [{ data: { bytes: timespec(1000) } }, 0]);
  const plan = containerPlan(root, ['/bin/true'], { before: [forever] });
  const nothing = openSync('/dev/null', 'w');
  const launch = Launch.start(plan, { stdio: [0, 1, nothing] });
  closeSync(nothing);
  const event = launch.next();
  if (event?.kind !== 'sent') throw new Error('no pid came');
  if (answers > 0) launch.answer(TAG_GO);
  launch.release();
  await untilGone(event.value);
  await untilGone(launch.pid);
  expect(launch.wait()).toBe(125 << 8);
});

test('a launcher that is killed takes the container that it was making with it', async () => {
  const launch = Launch.start(containerPlan(root, ['/bin/true']));
  const event = launch.next();
  if (event?.kind !== 'sent') throw new Error('no pid came');
  process.kill(launch.pid, 'SIGKILL');
  expect(launch.wait()).toBe(9);
  await untilGone(event.value);
  launch.release();
});

test('a program that cannot start after the engine has left is told on stderr', () => {
  const { reader, writer } = createPipe('stderr');
  using _ = reader;
  // `create` waits for `start` here, without an engine.
  const wait = call('nanosleep', [{ data: { bytes: timespec(0, 100_000_000) } }, 0]);
  using launch = Launch.start(single(wait, exec('/bin/nothing')), { stdio: [0, 1, writer.fd] });
  writer[Symbol.dispose]();
  launch.release();
  expect(launch.wait()).toBe(127 << 8);
  expect(Buffer.from(readToEnd(reader.fd, 1000)).toString()).toBe(
    'tvmm launcher: cannot start /bin/nothing: step 1 of program 0: errno 2 (ENOENT)\n',
  );
});

test('a launch of many tags ends with closed, and an answer to nobody is no error', () => {
  const sends = Array.from(
    { length: 99 },
    (_, index): Step => ({ op: 'send', what: 'count', tag: index + 1 }),
  );
  using launch = Launch.start(single(...sends));
  const tags: number[] = [];
  expect(launch.finish((event) => tags.push(event.tag))).toBe(0);
  expect(tags).toEqual(sends.map((_, index) => index + 1));
  launch.answer(1);
  expect(launch.next()).toEqual({ kind: 'closed' });
});

function timespec(seconds: number, nanoseconds = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigInt64(8, BigInt(nanoseconds), true);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(seconds), true);
  return bytes;
}
