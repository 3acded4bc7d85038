import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ANSWER, encodeAnswer, MAX_REQUEST, parseRequest, WIRE_VERSION } from './wire.js';

interface Parts {
  readonly version?: number;
  readonly umask?: number;
  readonly size?: number;
  readonly counts?: readonly [number, number];
}

/** A request as client.c writes it. */
function request(
  cwd: string,
  args: readonly string[],
  variables: readonly string[],
  parts: Parts = {},
): Buffer {
  const texts = Buffer.from([cwd, ...args, ...variables].map((text) => `${text}\0`).join(''));
  const header = Buffer.alloc(32);
  header.write('tvmm-oci');
  header.writeUInt32LE(parts.version ?? WIRE_VERSION, 8);
  header.writeUInt32LE(parts.size ?? 32 + texts.length, 12);
  header.writeUInt32LE(parts.umask ?? 0o22, 16);
  header.writeUInt32LE(parts.counts?.[0] ?? args.length, 20);
  header.writeUInt32LE(parts.counts?.[1] ?? variables.length, 24);
  return Buffer.concat([header, texts]);
}

const word = fc
  .string()
  .filter((text) => !text.includes('\0') && !text.includes('\ufffd') && text.isWellFormed());

test('a request comes out as it went in', () => {
  fc.assert(
    fc.property(fc.array(word, { maxLength: 8 }), word, (args, value) => {
      expect(parseRequest(request('/some/where', args, [`USER=${value}`]))).toEqual({
        program: 'oci',
        terminals: 0,
        cwd: '/some/where',
        umask: 0o22,
        args,
        variables: Object.assign(Object.create(null), { USER: value }),
      });
    }),
  );
});

test('a request says which program its client stands in for, and which descriptors are terminals', () => {
  const bytes = request('/', ['ps'], []);
  bytes.write('tvmm-cli');
  bytes.writeUInt32LE(5, 28);
  expect(parseRequest(bytes)).toMatchObject({ program: 'tvmm', terminals: 5 });
  bytes.write('tvmm-abc');
  expect(parseRequest(bytes)).toBe('garbage');
});

test('a request that is cut at any byte is waited for', () => {
  const whole = request('/', ['run', 'id'], ['USER=root']);
  for (let length = 0; length < whole.length; length++)
    expect(parseRequest(whole.subarray(0, length))).toBe('more');
});

test('any bytes get a verdict', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, begins) => {
      const all = begins ? Buffer.concat([request('/', [], []).subarray(0, 12), bytes]) : Buffer.from(bytes);
      const verdict = parseRequest(all);
      if (typeof verdict === 'string') expect(['more', 'garbage', 'foreign']).toContain(verdict);
      else expect(verdict.cwd).toMatch(/^\//);
    }),
  );
});

test.each<[string, Buffer]>([
  ['a size below the header’s', request('/', [], [], { size: 31 })],
  ['a size above what any client sends', request('/', [], [], { size: MAX_REQUEST + 1 })],
  ['more bytes than it says', Buffer.concat([request('/', [], []), Buffer.from('more')])],
  ['more arguments than texts', request('/', ['a'], [], { counts: [2, 0] })],
  ['counts that only together wrap around', request('/', ['a'], [], { counts: [0xffffffff, 2] })],
  ['a relative working directory', request('here', [], [])],
  ['a variable without a name', request('/', [], ['=x'])],
  ['a variable without a value', request('/', [], ['USER'])],
  ['a umask of more than permissions', request('/', [], [], { umask: 0o1000 })],
  ['texts without an end', request('/', ['a'], []).fill('a', 32)],
  ['bytes that are no UTF-8', request('/', ['a'], []).fill(0xff, 34, 35)],
])('garbage: %s', (_, bytes) => {
  expect(parseRequest(bytes)).toBe('garbage');
});

test('another version is told from garbage, whatever follows', () => {
  expect(parseRequest(request('/', [], [], { version: WIRE_VERSION + 1, size: 1 }))).toBe('foreign');
});

test('a variable of any name is only a variable', () => {
  const parsed = parseRequest(request('/', [], ['__proto__=x']));
  expect(typeof parsed === 'object' && Object.keys(parsed.variables)).toEqual(['__proto__']);
});

test('answers tell how much there is to print', () => {
  const done = encodeAnswer(ANSWER.done, 7, Buffer.from('out'), Buffer.from('error'));
  expect(done.toString('latin1')).toBe('\x03\0\0\0\x07\0\0\0\x03\0\0\0\x05\0\0\0outerror');
  const plan = encodeAnswer(ANSWER.plan, 3, 4, Buffer.from('w'));
  expect(plan.toString('latin1')).toBe('\x02\0\0\0\x03\0\0\0\x04\0\0\0\x01\0\0\0w');
});
