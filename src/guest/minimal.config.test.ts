import { expect, test } from 'vitest';
import { configFragment, MINIMAL_CONFIG, missingOptions } from './minimal.config.js';

const all = MINIMAL_CONFIG.flatMap(({ options }) => options);

test('no option is listed twice, and every one is a Kconfig name with a possible value', () => {
  const names = all.map((option) => option.replace(/[?=].*/, ''));
  expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  for (const option of all) expect(option).toMatch(/^[A-Z0-9_]+(\?|=("[^"]*"|\d+))?$/i);
});

test('the fragment has one line an option under its group’s reason', () => {
  const fragment = configFragment([{ reason: 'why', options: ['A', 'B=3', 'C?'] }]);
  expect(fragment).toBe('# why\nCONFIG_A=y\nCONFIG_B=3\nCONFIG_C=y\n');
});

test('options that the finished configuration lacks are named, but for optional ones', () => {
  const groups = [{ reason: '', options: ['A', 'B=3', 'C?', 'D'] }];
  expect(missingOptions('CONFIG_A=y\nCONFIG_B=4\n# CONFIG_D is not set\n', groups)).toEqual(['B=3', 'D']);
});
