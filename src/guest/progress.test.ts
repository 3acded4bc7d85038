import { expect, test } from 'vitest';
import { showProgress } from './progress.js';

function recorder(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  return { isTTY, columns, written, write: (text: string) => written.push(text) };
}

test('off a terminal every message is a line of its own and repetitions are left out', () => {
  const stream = recorder(false);
  {
    using display = showProgress(stream);
    display.report('fetching a');
    display.report('fetching a');
    display.report('unpacking a');
  }
  expect(stream.written.join('')).toBe('tvmm: fetching a\ntvmm: unpacking a\n');
});

test('on a terminal a message stays on one line, and disposal takes it off', () => {
  const stream = recorder(true, 20);
  {
    using display = showProgress(stream);
    display.report('a very long message\nwith a newline');
  }
  const [line = '', end] = stream.written;
  expect(line).not.toContain('\n');
  expect(line.replace('\r\x1b[K', '').length).toBeLessThan(20);
  expect(end).toBe('\r\x1b[K');
});
