/** The engine's own command line, `tvmm`, with a resident engine and without one, taking turns. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from 'tvmm';
import { median, table } from './figures.js';
import { type Contestant, finish, start } from './runtimes.js';

/** Prints a table. @param rootfs a folder with /bin/true */
export function engineCommandsTable(
  rounds: number,
  { folder, rootfs, socket, log }: Record<'folder' | 'rootfs' | 'socket' | 'log', string>,
): void {
  const place = [`TVMM_ROOT=${join(folder, 'engine-root')}`, `TVMM_RUN=${join(folder, 'engine-run')}`];
  mkdirSync(join(folder, 'engine-root'), { recursive: true });
  const contestant = (name: string, engine: string): Contestant => ({
    name,
    command: [join(packageRoot(), 'dist/firmware/tvmm')],
    variables: [...place, `TVMM_ENGINE=${engine}`],
  });
  const contestants = [contestant('resident', socket), contestant('cold', '/nowhere/engine.sock')];
  const run = ['run', '--rm', '--network', 'none', '--rootfs', rootfs, '/bin/true'];
  const commands: readonly (readonly [string, readonly string[]])[] = [
    ['tvmm run --rm --network none', run],
    ['tvmm ps -a', ['ps', '-a']],
  ];
  const rows = commands.map(([title, args]) => {
    const times = new Map<string, number[]>(contestants.map(({ name }) => [name, []]));
    for (let round = -3; round < rounds; round++) {
      for (const one of round % 2 === 0 ? contestants : contestants.toReversed()) {
        const begin = performance.now();
        finish(start(one, args, log), title, log);
        // The first fill caches.
        if (round >= 0) times.get(one.name)?.push(performance.now() - begin);
      }
    }
    const medians = contestants.map(({ name }) => median(times.get(name) ?? []));
    const [resident = 0, cold = 0] = medians;
    return [title, ...medians.map((value) => value.toFixed(2)), (resident / cold).toFixed(2)];
  });
  table(['ms, median', ...contestants.map(({ name }) => name), 'ratio'], rows);
  console.log('');
  rmSync(join(folder, 'engine-root'), { recursive: true, force: true });
}
