import { expect, test } from 'vitest';
import type { Plan } from './plan.js';
import { planToJson, printPlan, printStep } from './print.js';

const NULL = { value: 0, text: 'NULL' };

const PLAN: Plan = {
  inherited: { control: 3 },
  programs: [
    {
      name: 'launcher',
      steps: [
        {
          op: 'clone',
          what: 'make the new namespaces',
          flags: 0x2002_0000n,
          child: 'init',
          result: 'pid',
        },
        { op: 'send', what: 'tell the pid', tag: 1, register: 'pid' },
        { op: 'receive', what: 'wait for init', tag: 2, peer: 'init' },
        { op: 'supervise', what: 'wait for the container', child: 'pid', reap: true, tag: 3 },
      ],
    },
    {
      name: 'init',
      steps: [
        {
          op: 'call',
          what: 'mount proc at /proc',
          call: 'mount',
          arguments: [
            { data: 'proc' },
            { data: '/proc' },
            { data: 'proc' },
            { value: 6, text: 'MS_NOSUID|MS_NODEV' },
            NULL,
          ],
          result: 'mounted',
          allow: ['EBUSY'],
        },
        { op: 'jump', what: 'go on', when: 'negative', register: 'mounted', label: 'skip' },
        {
          op: 'ensure',
          what: 'make /dev/shm',
          root: 'root',
          path: '/dev/shm',
          kind: 'directory',
          mode: 0o755,
          result: 'shm',
        },
        { op: 'label', label: 'skip' },
        { op: 'send', what: 'say that all is ready', tag: 2, peer: 'launcher' },
        {
          op: 'exec',
          what: 'start /bin/true',
          candidates: ['/bin/true'],
          argv: ['true'],
          environment: ['A=b'],
        },
      ],
    },
  ],
};

test('a plan is printed one line a step, with labels, results and what each step is for', () => {
  expect(printPlan(PLAN)).toMatchInlineSnapshot(`
    "inherited control = 3

    launcher {
        0  clone3({flags: CLONE_NEWNS|CLONE_NEWPID}) { init } = pid   # make the new namespaces
        1  send(engine, 1, pid)   # tell the pid
        2  receive(init, 2)   # wait for init
        3  supervise(pid, 3, reap)   # wait for the container
    }

    init {
        0  mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV, NULL) = mounted or EBUSY   # mount proc at /proc
        1  if (mounted < 0) goto skip   # go on
        2  ensure(root, "/dev/shm", directory, 0755) = shm   # make /dev/shm
      skip:
        4  send(launcher, 2)   # say that all is ready
        5  execve("/bin/true", ["true"], [1 vars])   # start /bin/true
    }
    "
  `);
});

test('control characters of a hostile configuration do not reach the terminal', () => {
  const text = printStep({
    op: 'exec',
    what: '',
    candidates: ['/bin/\u001b]0;x\u0007\u009b'],
    argv: [],
    environment: [],
  });
  expect(text).not.toMatch(/\p{Cc}/u);
});

test('long data is cut so that a line stays a line', () => {
  const argv = Array.from({ length: 1000 }, (_, index) => `argument-${index}`);
  const step = { op: 'exec', what: '', candidates: ['x'.repeat(10_000)], argv, environment: [] } as const;
  expect(printStep(step).length).toBeLessThan(600);
});

test('a plan as JSON survives JSON.stringify with numbers as text and bytes as base64', () => {
  const json = JSON.stringify(planToJson(PLAN));
  expect(JSON.parse(json)).toMatchObject({
    inherited: { control: 3 },
    programs: [
      { name: 'launcher', steps: [{ op: 'clone', flags: '0x20020000' }, {}, {}, {}] },
      { name: 'init' },
    ],
  });
});
