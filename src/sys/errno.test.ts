import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { ERRNO, errnoName, errnoNumber } from './errno.js';

describe('errno numbers', () => {
  test('are those that Node was built with', () => {
    expect(ERRNO).toMatchObject(constants.errno);
  });

  test('have one name each that is told, the one that Node tells', () => {
    for (const [name, value] of Object.entries(constants.errno).reverse())
      if (!['EWOULDBLOCK', 'EOPNOTSUPP'].includes(name)) expect(errnoName(value)).toBe(name);
    expect(errnoName(95)).toBe('ENOTSUP');
    expect(errnoName(4095)).toBe('E4095');
  });

  test('are found by name, and nothing else is', () => {
    expect(errnoNumber('EOPNOTSUPP')).toBe(95);
    expect(errnoNumber('toString')).toBeUndefined();
    expect(errnoNumber('ENONSENSE')).toBeUndefined();
  });
});
