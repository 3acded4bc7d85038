/** The tests of `tvmm run` and its siblings once more, through the native program and a resident engine: the answers must be the same. */
import { afterAll, beforeAll } from 'vitest';
import { NATIVE } from './support/engine.js';
import { ResidentEngine } from './support/resident.js';

process.env.TVMM_TEST_TVMM = NATIVE;

let engine: ResidentEngine;
beforeAll(async () => {
  engine = await ResidentEngine.start();
  process.env.TVMM_ENGINE = engine.socket;
});
afterAll(() => engine.close());

await import('./engine.test.js');
