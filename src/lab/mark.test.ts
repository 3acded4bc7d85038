import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MarkFinder, randomMark } from './mark.js';

describe('MarkFinder', () => {
  it('passes exactly what stands before the mark, however the stream is cut', () => {
    fc.assert(
      fc.property(
        // Letters of the mark itself, so that beginnings of it are common.
        fc.array(fc.constantFrom('E', 'N', 'D', '-', 'x', 'END', 'END-EN'), { maxLength: 40 }),
        fc.array(fc.nat({ max: 12 }), { maxLength: 30 }),
        (words, cuts) => {
          const mark = 'END-END!';
          const body = words.join('');
          let rest = Buffer.from(`${body}${mark}after`);
          const finder = new MarkFinder(mark);
          let passed = '';
          for (const cut of cuts) {
            passed += finder.pass(rest.subarray(0, cut)).toString();
            rest = rest.subarray(cut);
          }
          passed += finder.pass(rest).toString();
          expect(passed).toBe(body);
          expect(finder.found).toBe(true);
        },
      ),
    );
  });

  it('gives back what it held when the stream ends without the mark', () => {
    const finder = new MarkFinder('mark');
    expect(finder.pass(Buffer.from('some ma')).toString()).toBe('some ');
    expect(finder.rest().toString()).toBe('ma');
    expect(finder.found).toBe(false);
  });

  it('holds nothing back that cannot begin the mark', () => {
    expect(new MarkFinder('mark').pass(Buffer.from('a prompt$ ')).toString()).toBe('a prompt$ ');
  });

  it('makes marks that differ and are one shell word', () => {
    expect(randomMark()).not.toBe(randomMark());
    expect(randomMark()).toMatch(/^[a-z0-9-]+$/);
  });
});
