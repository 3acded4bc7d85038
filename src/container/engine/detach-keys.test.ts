import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DetachKeys, parseDetachKeys } from './detach-keys.js';

describe('the detach keys', () => {
  it('are found when typed one after the other, and what follows is dropped', () => {
    const keys = new DetachKeys();
    expect(keys.take(Uint8Array.of(97, 16))).toEqual({ pass: Uint8Array.of(97), detach: false });
    expect(keys.take(Uint8Array.of(17, 98))).toEqual({ pass: new Uint8Array(), detach: true });
  });

  it('go on to the container when only the first was meant', () => {
    const keys = new DetachKeys();
    expect(keys.take(Uint8Array.of(16, 16, 98)).pass).toEqual(Uint8Array.of(16, 16, 98));
  });

  it('change nothing of any other input', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 6 })), (chunks) => {
        const typed = Buffer.concat(chunks).filter((byte) => byte !== 17);
        const keys = new DetachKeys();
        // A last key that is neither lets go of what is held back.
        const parts = chunks.map((chunk) => keys.take(chunk.filter((byte) => byte !== 17)).pass);
        parts.push(keys.take(Uint8Array.of(0)).pass);
        expect(Buffer.concat(parts)).toEqual(Buffer.concat([typed, Uint8Array.of(0)]));
      }),
    );
  });
});

it.each([
  ['ctrl-p,ctrl-q', [16, 17]],
  ['ctrl-@,a,Z', [0, 97, 90]],
  ['ctrl-[,ctrl-_', [27, 31]],
  ['', undefined],
  ['ab', undefined],
  ['ctrl-', undefined],
  ['ctrl-1', undefined],
  ['a,,b', undefined],
])('the detach keys %j are %j', (text, keys) => {
  expect(parseDetachKeys(text)).toEqual(keys === undefined ? undefined : Uint8Array.from(keys));
});
