import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ContainerRecord } from './record.js';
import { ContainerStore } from './store.js';

const ID = 'a'.repeat(64);
const OTHER = 'b'.repeat(64);

let base: string;
let store: ContainerStore;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tvmm-store-'));
  const [containers, names, locks] = ['containers', 'names', 'locks'].map((name) => {
    mkdirSync(join(base, name));
    return join(base, name);
  });
  store = new (class extends ContainerStore {
    // Only names and ids matter here.
    override read(id: string): ContainerRecord | undefined {
      const file = join(containers, id, 'container.json');
      return existsSync(file)
        ? ({ id, name: 'one', created: '', options: { remove: false } } as ContainerRecord)
        : undefined;
    }
  })({ containers, names, locks } as ContainerStore['paths']);
});

afterEach(() => rmSync(base, { recursive: true, force: true }));

describe('a claim of a name that was killed', () => {
  const record = (): ContainerRecord =>
    ({ id: OTHER, name: 'two', created: '', options: { remove: false } }) as ContainerRecord;

  test('between record and name is found by its name, and keeps it', async () => {
    mkdirSync(join(base, 'containers', ID));
    writeFileSync(join(base, 'containers', ID, 'container.json'), '{}');
    expect(store.resolve('one')).toBe(ID);
    await expect(store.claimName('one', OTHER, record)).rejects.toThrow(/taken by container aaaa/);
  });

  test('leaves no half written file and no folder without a record behind the next claim', async () => {
    mkdirSync(join(base, 'containers', ID));
    writeFileSync(join(base, 'names', 'one.123.new~'), ID);
    await store.claimName('two', OTHER, record);
    expect(readdirSync(join(base, 'names'))).not.toContain('one.123.new~');
    expect(readdirSync(join(base, 'containers'))).toEqual([OTHER]);
  });
});

test('a record that a power cut has emptied counts as absent', () => {
  const [containers, names, locks] = ['containers', 'names', 'locks'].map((name) => join(base, name));
  const real = new ContainerStore({ containers, names, locks } as ContainerStore['paths']);
  mkdirSync(join(base, 'containers', ID));
  writeFileSync(join(base, 'containers', ID, 'container.json'), '');
  expect([real.read(ID), real.ids(), real.all()]).toEqual([undefined, [], []]);
  const longAgo = new Date(Date.now() - 3_600_000);
  utimesSync(join(base, 'containers', ID), longAgo, longAgo);
  expect(real.orphans()).toEqual([ID]);
});
