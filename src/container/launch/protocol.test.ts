import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Plan } from '../plan/plan.js';
import { LaunchError } from './errors.js';
import { encodeAnswer, MESSAGE, MESSAGE_SIZE } from './messages.js';
import { LaunchProtocol } from './protocol.js';

const PLAN: Plan = {
  inherited: { control: 3 },
  programs: [
    {
      name: 'launcher',
      steps: [
        {
          op: 'hook',
          what: 'run the prestart hook',
          path: '/bin/h',
          argv: [],
          environment: [],
          input: { bytes: new Uint8Array() },
        },
        { op: 'receive', what: 'wait for the engine', tag: 1 },
      ],
    },
  ],
};

function message(fields: {
  type: number;
  tag?: number;
  program?: number;
  step?: number;
  value?: number;
  errno?: number;
}) {
  const bytes = new Uint8Array(MESSAGE_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, fields.type);
  view.setUint8(1, fields.tag ?? 0);
  view.setUint16(2, fields.program ?? 0, true);
  view.setUint32(4, fields.step ?? 0, true);
  view.setBigInt64(8, BigInt(fields.value ?? 0), true);
  view.setUint32(16, fields.errno ?? 0, true);
  return bytes;
}

function text(content: string) {
  const bytes = message({ type: MESSAGE.text, tag: content.length });
  bytes.set(Buffer.from(content), 8);
  return bytes;
}

test('messages arrive whole however the stream cuts them', () => {
  const stream = Buffer.concat(
    [1, 2, 3].map((tag) => message({ type: MESSAGE.sent, tag, value: tag * 100 })),
  );
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (cuts) => {
      const protocol = new LaunchProtocol(PLAN);
      const events = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        const size = cuts[i % cuts.length] ?? 1;
        events.push(...protocol.push(stream.subarray(at, at + size)));
        at += size;
      }
      expect(events).toEqual(
        [1, 2, 3].map((tag) => ({ kind: 'sent', program: 'launcher', tag, value: tag * 100 })),
      );
    }),
  );
});

test('a hook that fails is told with its status and the end of its output', () => {
  const protocol = new LaunchProtocol(PLAN);
  expect(protocol.push(text('no such disk, I am '))).toEqual([]);
  const [event] = protocol.push(
    Buffer.concat([text('sorry\n'), message({ type: MESSAGE.failed, value: 3 << 8 })]),
  );
  expect(event).toMatchObject({
    kind: 'failed',
    error: {
      message:
        'error running the prestart hook: hook("/bin/h", [], [0 vars], {0 bytes}): exit status 3: "no such disk, I am sorry"',
      code: 'HOOK_FAILED',
    },
  });
});

test('the first failure counts and its echoes are silent', () => {
  const protocol = new LaunchProtocol(PLAN);
  const failed = message({ type: MESSAGE.failed, step: 1, errno: 104 });
  const events = protocol.push(Buffer.concat([failed, failed]));
  expect(events).toHaveLength(1);
  expect(events[0]).toMatchObject({ error: { message: expect.stringContaining('the engine is gone') } });
  expect(protocol.done).toBe(true);
});

test('the end of the stream is told once', () => {
  const protocol = new LaunchProtocol(PLAN);
  expect(protocol.push(new Uint8Array())).toEqual([{ kind: 'closed' }]);
  expect(protocol.push(new Uint8Array())).toEqual([]);
});

test('whatever bytes come, nothing is thrown and at most one failure is told', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 })), (pieces) => {
      const protocol = new LaunchProtocol(PLAN);
      const events = pieces.flatMap((piece) => protocol.push(piece));
      expect(events.filter(({ kind }) => kind === 'failed').length).toBeLessThanOrEqual(1);
    }),
  );
});

test('a failure of a step that the plan does not have is the launcher’s own', () => {
  const [event] = new LaunchProtocol(PLAN).push(message({ type: MESSAGE.failed, step: 9, errno: 2 }));
  expect(event).toMatchObject({ kind: 'failed', error: { code: 'LAUNCHER_DIED' } });
  expect(event?.kind === 'failed' && event.error instanceof LaunchError).toBe(false);
});

test('an answer is a message with its tag and value', () => {
  expect(Buffer.from(encodeAnswer(7, -1)).toString('hex')).toBe(
    `1007000000000000${'ff'.repeat(8)}${'00'.repeat(16)}`,
  );
});
