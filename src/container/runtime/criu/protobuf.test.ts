import { describe, expect, test } from 'vitest';
import { ProtoFields, ProtoMessage } from './protobuf.js';

const bytes = (...values: number[]) => Uint8Array.from(values);

describe('messages', () => {
  test('have the bytes that the wire format says', () => {
    const inner = new ProtoMessage().text(1, 'ab').number(2, 7);
    const message = new ProtoMessage().number(1, 150).number(3, true).message(4, inner);
    expect([...message.encode()]).toEqual([8, 0x96, 1, 24, 1, 34, 6, 10, 2, 97, 98, 16, 7]);
  });

  test('are read back, also with numbers of more than 31 bits and unknown fields', () => {
    const message = new ProtoMessage().number(38, 0x4000_0000).number(20, 0xffff_ffff).text(1000, 'ä');
    const fields = new ProtoFields(message.encode());
    expect([fields.number(38), fields.number(20), fields.text(1000), fields.number(1)]).toEqual([
      0x4000_0000,
      -1,
      'ä',
      undefined,
    ]);
  });

  test('may hold negative numbers and fixed fields', () => {
    const minusTwo = [16, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    const fields = new ProtoFields(bytes(...minusTwo, 13, 1, 2, 3, 4, 17, 1, 2, 3, 4, 5, 6, 7, 8));
    expect(fields.number(2)).toBe(-2);
  });
});

test.each([
  ['a number that does not end', bytes(8, 0x80)],
  ['a number of more than 64 bits', bytes(8, ...Array<number>(10).fill(0xff), 1)],
  ['a text that is longer than the message', bytes(10, 200, 1, 97)],
  ['a length beyond every message', bytes(10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)],
  ['a fixed field that is cut off', bytes(13, 1, 2)],
  ['a group', bytes(11)],
])('%s is refused', (_, message) => {
  expect(() => new ProtoFields(message)).toThrow(/criu sent a message/);
});
