import { Command } from 'commander';
import { expect, test } from 'vitest';
import { CHECKS } from '../container/assess/assess.js';
import { addCreateOptions, NOT_SUPPORTED } from './engine/create-flags.js';

test('the options that an assessment recommends are options of tvmm run', () => {
  const known = addCreateOptions(new Command('run'))
    .options.filter(({ description }) => description !== NOT_SUPPORTED)
    .flatMap(({ short, long }) => [short, long]);
  const named = CHECKS.flatMap(({ option }) => option?.match(/(?<!\S)--?[a-z][a-z-]*/g) ?? []);
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((flag) => !known.includes(flag))).toEqual([]);
});
