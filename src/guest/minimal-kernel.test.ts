import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cachedMinimalKernel, missingTools, requireMinimalKernel } from './minimal-kernel.js';

const environment = { TVMM_CACHE: process.env.TVMM_CACHE, PATH: process.env.PATH };
let cache = '';
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'tvmm-minimal-'));
  process.env.TVMM_CACHE = cache;
});
afterEach(() => {
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  rmSync(cache, { recursive: true });
});

test('a kernel that was never built is one sentence with the command that builds it', () => {
  expect(() => requireMinimalKernel()).toThrow(
    expect.objectContaining({ code: 'KERNEL_NOT_BUILT', hint: expect.stringContaining('tvmm kernel build') }),
  );
});

test('a kernel of another configuration, or a damaged note, counts as absent', () => {
  const folder = join(cache, 'minimal-kernels');
  mkdirSync(join(folder, 'abc'), { recursive: true });
  for (const file of ['vmlinux', 'bzImage']) writeFileSync(join(folder, 'abc', file), '');
  writeFileSync(join(folder, 'abc/kernel.json'), '{"version":"1"}');
  for (const note of ['{"fragment":"old","entry":"abc"}', '{', '[]', '']) {
    writeFileSync(join(folder, 'current.json'), note);
    expect(cachedMinimalKernel()).toBeUndefined();
  }
});

test('a machine without build tools is told the packages, the headers’ ones included', () => {
  process.env.PATH = '/nowhere';
  expect(missingTools()).toEqual(
    expect.arrayContaining(['make', 'gcc', 'flex', 'bison', 'bc', 'libelf-dev', 'libc6-dev']),
  );
});
