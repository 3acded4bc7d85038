/**
 * Two projects: `unit` beside the sources, importing them, in parallel; `integration` below test/, importing the built package by its
 * name, one file at a time, since they start machines.
 */
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

const dist = (file: string) => join(import.meta.dirname, 'dist', file);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts'],
          testTimeout: 20_000,
          hookTimeout: 20_000,
        },
      },
      {
        // What users import is what is tested: the bundles, not the sources.
        resolve: {
          alias: [
            { find: /^tvmm$/, replacement: dist('index.js') },
            { find: /^tvmm\/container$/, replacement: dist('container.js') },
            { find: /^tvmm\/kvm$/, replacement: dist('kvm.js') },
            { find: /^tvmm\/memory$/, replacement: dist('memory.js') },
          ],
        },
        test: {
          name: 'integration',
          include: ['test/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
          // One emulated machine for all files, booted when the first of them asks for it.
          globalSetup: ['test/support/lab-global.ts'],
          // A process of its own for each file: threads, descriptors and signal handlers of one cannot disturb the next.
          pool: 'forks',
        },
      },
    ],
  },
});
