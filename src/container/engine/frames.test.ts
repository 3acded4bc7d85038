import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encodeFrame,
  encodePid,
  encodeResize,
  exitCodeOf,
  FRAME,
  FrameReader,
  MAX_PAYLOAD,
} from './frames.js';

describe('frames of the minder', () => {
  it('have type, length and payload, little endian', () => {
    expect(encodeFrame(FRAME.stdin, Buffer.from('hi')).toString('hex')).toBe('01020000006869');
    expect(encodeResize(24, 80).toString('hex')).toBe('030400000018005000');
    expect(encodePid(4711).toString('hex')).toBe('040400000067120000');
  });

  it('come out whole however the stream was cut', () => {
    const frames = fc.array(fc.record({ type: fc.nat(255), payload: fc.uint8Array({ maxLength: 300 }) }), {
      maxLength: 8,
    });
    fc.assert(
      fc.property(frames, fc.array(fc.nat(50), { maxLength: 30 }), (sent, cuts) => {
        const bytes = Buffer.concat(sent.map(({ type, payload }) => encodeFrame(type, payload)));
        const reader = new FrameReader();
        const got = [];
        let at = 0;
        for (const cut of cuts) {
          got.push(...reader.read(bytes.subarray(at, at + cut)));
          at += cut;
        }
        got.push(...reader.read(bytes.subarray(at)));
        expect(got.map(({ type, payload }) => ({ type, payload: new Uint8Array(payload) }))).toEqual(sent);
      }),
    );
  });

  it('are refused when they claim more than a minder sends', () => {
    const bytes = Buffer.alloc(5);
    bytes.writeUInt32LE(MAX_PAYLOAD + 1, 1);
    expect(() => new FrameReader().read(bytes)).toThrow(/frame of 65537 bytes/);
  });
});

describe('the exit status', () => {
  it('is the program’s own, 128 + n for signal n, 255 when nobody knows', () => {
    expect(exitCodeOf(3 << 8)).toBe(3);
    expect(exitCodeOf(9)).toBe(137);
    expect(exitCodeOf(9 | 0x80)).toBe(137);
    expect(exitCodeOf(-1)).toBe(255);
  });
});
