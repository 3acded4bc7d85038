import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TvmmError } from './errors.js';
import { parseAddress, parseLink, parseRoute } from './netlink-route.js';
import {
  attribute,
  encodeMessage,
  NLM_F,
  NLMSG,
  nested,
  parseAnswer,
  parseAttributes,
  parseMessages,
  readString,
  readU32,
  stringAttribute,
  u8Attribute,
  u32Attribute,
} from './netlink-wire.js';

test('a message has its length, type, flags and sequence where the kernel looks for them', () => {
  const bytes = encodeMessage(19, 5, 7, [Uint8Array.of(1, 2, 3, 4), u8Attribute(33, 1)]);
  expect([...bytes]).toEqual([
    ...[28, 0, 0, 0, 19, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0],
    ...[1, 2, 3, 4],
    ...[5, 0, 33, 0, 1, 0, 0, 0],
  ]);
});

test('what is encoded is parsed again, padding and nesting included', () => {
  const bytes = encodeMessage(16, 2, 9, [
    stringAttribute(3, 'eth0'),
    u32Attribute(4, 1500),
    nested(18, stringAttribute(1, 'veth')),
  ]);
  const [message] = parseMessages(bytes);
  const attributes = parseAttributes(message?.payload ?? new Uint8Array());
  expect(message).toMatchObject({ type: 16, flags: 2, sequence: 9 });
  expect(readString(attributes.get(3) ?? new Uint8Array())).toBe('eth0');
  expect(readU32(attributes.get(4))).toBe(1500);
  expect(readString(parseAttributes(attributes.get(18) ?? new Uint8Array()).get(1) ?? new Uint8Array())).toBe(
    'veth',
  );
});

test('an acknowledgement is errno 0, and an error carries the kernel’s own words', () => {
  const ok = encodeMessage(NLMSG.ERROR, NLM_F.CAPPED, 1, [new Uint8Array(4 + 16)]);
  expect(parseMessages(ok).map(parseAnswer)).toEqual([{ errno: 0, text: undefined }]);
  const status = new Uint8Array(4 + 16);
  new DataView(status.buffer).setInt32(0, -17, true);
  const error = encodeMessage(NLMSG.ERROR, NLM_F.CAPPED | NLM_F.ACK_TLVS, 1, [
    status,
    stringAttribute(1, 'taken'),
  ]);
  expect(parseMessages(error).map(parseAnswer)).toEqual([{ errno: 17, text: 'taken' }]);
});

test('a message or an attribute that is longer than what is there is refused', () => {
  const message = encodeMessage(16, 0, 1, [new Uint8Array(4)]);
  message[0] = 200;
  expect(() => parseMessages(message)).toThrow('a message of 200 bytes where 20 are left');
  const long = attribute(1, new Uint8Array(4));
  long[0] = 100;
  expect(() => parseAttributes(long)).toThrow('an attribute of 100 bytes where 8 are left');
  const short = attribute(1, new Uint8Array(4));
  short[0] = 3;
  expect(() => parseAttributes(short)).toThrow('an attribute of 3 bytes');
});

test('arbitrary bytes give messages, links, addresses and routes, or an error of ours', () => {
  const parsers = [
    (bytes: Uint8Array) => parseMessages(bytes).map(parseAnswer),
    parseAttributes,
    parseLink,
    parseAddress,
    parseRoute,
  ];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...parsers), (bytes, parse) => {
      try {
        parse(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(TvmmError);
      }
    }),
    { numRuns: 2000 },
  );
});
