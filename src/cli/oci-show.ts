/** state, list, ps, events, features, spec: what only tells. */
import { existsSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ContainerStatusError } from '../container/runtime/errors.js';
import type { ContainerState } from '../container/runtime/runtime.js';
import { cgroupOf } from '../container/runtime/status.js';
import { delay } from '../sys/time.js';
import { type OciAction, type OciCall, tvmmVersion } from './oci.js';
import { UsageError } from './usage-error.js';

const DEFAULT_INTERVAL_MS = 5000;
const MAX_PS_BYTES = 64 * 1024 * 1024;

/** The `--format` of list and ps. */
function format({ values }: OciCall): 'table' | 'json' {
  const given = values.text('format') ?? 'table';
  if (given !== 'table' && given !== 'json') throw new UsageError('invalid format option');
  return given;
}

/** Columns as wide as their widest cell, at least 12, and three spaces between them: as Go's tabwriter is told by runc. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, at) => {
      widths[at] = Math.max(widths[at] ?? 9, cell.length);
    });
  return rows
    .map((row) =>
      row.map((cell, at) => (at === row.length - 1 ? cell : cell.padEnd((widths[at] ?? 9) + 3))).join(''),
    )
    .map((line) => `${line}\n`)
    .join('');
}

function listTable(states: readonly ContainerState[]): string {
  return table([
    ['ID', 'PID', 'STATUS', 'BUNDLE', 'CREATED', 'OWNER'],
    ...states.map(({ id, pid, status, bundle, created, owner }) => [
      id,
      String(pid),
      status,
      bundle,
      created,
      owner,
    ]),
  ]);
}

export const SHOW = {
  state({ runtime, id, surroundings }) {
    return surroundings.print(`${JSON.stringify(runtime.state(id), null, 2)}\n`);
  },

  list(call) {
    const { root } = call.runtime.environment;
    // The default one is missing as long as there was no container.
    if ((call.global.text('root') ?? '') !== '' && !existsSync(root))
      throw new UsageError(`open ${root}: no such file or directory`);
    const states = call.runtime.list(({ id, error }) =>
      call.surroundings.tell(
        `load container ${id}: ${error instanceof Error ? error.message : String(error)}\n`,
      ),
    );
    if (call.values.flag('quiet')) return call.surroundings.print(states.map(({ id }) => `${id}\n`).join(''));
    if (format(call) === 'table') return call.surroundings.print(listTable(states));
    return call.surroundings.print(`${JSON.stringify(states.length === 0 ? null : states)}\n`);
  },

  async ps(call) {
    const pids = await call.runtime.pids(call.id);
    if (format(call) === 'json') return call.surroundings.print(`${JSON.stringify(pids)}\n`);
    const { execFile } = await import('node:child_process');
    const options = call.args.length > 1 ? call.args.slice(1) : ['-ef'];
    const stdout = await new Promise<string>((resolve, reject) => {
      execFile('ps', options, { encoding: 'utf8', maxBuffer: MAX_PS_BYTES }, (error, output, complaint) => {
        if (error === null) resolve(output);
        else if (typeof error.code === 'number')
          reject(new UsageError(`ps ended with exit status ${error.code}: ${complaint}${output}`));
        else reject(new UsageError(`cannot run ps: ${error.message}`));
      });
    });
    const [title = '', ...lines] = stdout.split('\n');
    const column = title.trim().split(/\s+/).indexOf('PID');
    if (column < 0) throw new UsageError("couldn't find PID field in ps output");
    const wanted = new Set(pids.map(String));
    const shown = lines.filter((line) => wanted.has(line.trim().split(/\s+/)[column] ?? ''));
    return call.surroundings.print([title, ...shown].map((line) => `${line}\n`).join(''));
  },

  async events({ runtime, id, values, log, surroundings: { print } }) {
    const interval = values.duration('interval') ?? DEFAULT_INTERVAL_MS;
    if (interval <= 0) throw new UsageError('duration interval must be greater than 0');
    if (runtime.status(id) === 'stopped')
      throw new ContainerStatusError(`container with id ${id} is not running`);
    const { oomLine, statsLine } = await import('../container/runtime/events.js');
    const record = runtime.record(id);
    if (values.flag('stats')) return print(`${statsLine(record)}\n`);
    using _oom = await cgroupOf(record)?.watchOom(() => print(`${oomLine(id)}\n`));
    for (;;) {
      await delay(interval);
      try {
        if (runtime.status(id) === 'stopped') return 0;
        print(`${statsLine(record)}\n`);
      } catch (error) {
        // Deleted meanwhile: that is the end of its events.
        log.debug(error instanceof Error ? error.message : String(error));
        return 0;
      }
    }
  },

  async features({ surroundings }) {
    const { features } = await import('../container/runtime/features.js');
    return surroundings.print(`${JSON.stringify(features(tvmmVersion()), null, 4)}\n`);
  },

  async spec({ values }) {
    const { exampleSpec } = await import('../container/runtime/example-spec.js');
    const { readLayout } = await import('../container/cgroup/layout.js');
    const folder = resolve(values.words('bundle') ?? '.');
    const path = join(folder, 'config.json');
    if (!existsSync(folder)) throw new UsageError(`chdir ${folder}: no such file or directory`);
    if (existsSync(path)) throw new UsageError(`File ${path} exists. Remove it first`);
    const spec = exampleSpec({
      unified: readLayout().version === 'v2',
      ...(values.flag('rootless')
        ? { rootless: { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 } }
        : {}),
    });
    writeFileSync(path, `${JSON.stringify(spec, null, '\t')}\n`, { flag: 'wx' });
    return 0;
  },
} as const satisfies Readonly<Record<string, OciAction>>;
