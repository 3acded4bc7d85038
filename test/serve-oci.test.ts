/** The tests of `tvmm-oci` once more, through the native client and a resident engine: the answers must be the same. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from 'tvmm';
import { afterAll, beforeAll } from 'vitest';
import { runResident } from '../src/cli/resident.js';
import { Server } from '../src/container/serve/server.js';

// In here it is the launch of the tests' own process that counts, so the engine lives in it.
process.env.TVMM_TEST_OCI = join(packageRoot(), 'dist/firmware/client');

let folder: string;
let server: Server;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-serve-'));
  process.env.TVMM_ENGINE = join(folder, 'engine/engine.sock');
  server = await Server.start(process.env.TVMM_ENGINE, runResident);
});
afterAll(async () => {
  await server.close(0);
  rmSync(folder, { recursive: true });
});

await import('./oci.test.js');
