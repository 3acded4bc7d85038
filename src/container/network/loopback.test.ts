import { rmSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { needs } from '../../../test/support/needs.js';
import { createPipe, readToEnd } from '../../sys/pipe.js';
import { Launch } from '../launch/launch.js';
import { containerPlan, makeRoot, TAG_GO, TAG_PID } from '../launch/testing.js';
import { loopbackUpSteps } from './loopback.js';

let root = '';
beforeAll(() => {
  root = makeRoot();
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

test('the steps are a socket, an ioctl and a close', () => {
  expect(loopbackUpSteps().map((step) => (step.op === 'call' ? step.call : step.op))).toEqual([
    'socket',
    'ioctl',
    'close',
  ]);
});

test('the launcher brings lo up in a new namespace, without plugin and without netlink', (context) => {
  needs(context, 'root');
  const { reader, writer } = createPipe('stdout');
  using _ = reader;
  const plan = containerPlan(root, ['/bin/busybox', 'ip', 'addr', 'show', 'lo'], {
    before: loopbackUpSteps(),
  });
  using launch = Launch.start(plan, { stdio: [0, writer.fd, 2] });
  writer[Symbol.dispose]();
  launch.finish((event) => {
    if (event.kind === 'sent' && event.tag === TAG_PID) launch.answer(TAG_GO);
  });
  expect(Buffer.from(readToEnd(reader.fd, 10_000)).toString()).toContain('inet 127.0.0.1/8');
});
