import { expect, it } from 'vitest';
import { linesOf, psLines } from './ps-options.js';

it('keeps the lines about the processes, wherever the pid stands', () => {
  const output = 'USER  PID COMMAND\nroot    1 init\nroot   12 sh -c 1 12\nroot  112 12\n';
  expect(linesOf(output, new Set([12]))).toEqual(['USER  PID COMMAND', 'root   12 sh -c 1 12']);
});

it('refuses options without pids, and those that ps refuses', async () => {
  await expect(psLines(['-o', 'comm'], [1])).rejects.toThrow('leave out the pids');
  await expect(psLines(['--no-such-option'], [1])).rejects.toThrow('fails');
});

it('asks the real ps', async () => {
  const lines = await psLines(['-eo', 'pid,comm'], [process.pid]);
  expect(lines).toHaveLength(2);
});
