/**
 * criu(8), by its command line: what of a container lies outside of its images, and one sentence of its log for a failure. Bind mounts and
 * masked files are external: they are taken from the configuration again.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseMountOptions } from '../spec/mount-options.js';
import type { OciSpec } from '../spec/types.js';
import { CheckpointError, errnoOf } from './errors.js';

export interface CriuOptions {
  /** The program: `criu` by default. */
  readonly program: string;
  /** Absolute. */
  readonly images: string;
  readonly work: string;
  /** What the caller asks for, as criu spells it: `--tcp-established`. */
  readonly flags: readonly string[];
}

/** `--external` for every mount whose source is not the container's. */
export function externalMounts({ mounts = [], linux = {} }: OciSpec, restoring: boolean): string[] {
  const external = (destination: string, source: string) => [
    '--external',
    `mnt[${destination}]:${restoring ? source : destination}`,
  ];
  return [
    ...mounts.flatMap(({ destination, source = '', options = [] }) =>
      parseMountOptions(options).bind === undefined ? [] : external(destination, source),
    ),
    ...(linux.maskedPaths ?? []).flatMap((path) => external(path, '/dev/null')),
  ];
}

/** Runs criu and waits for it. @throws CheckpointError with what its log says */
export function runCriu(
  action: 'dump' | 'pre-dump' | 'restore',
  options: CriuOptions,
  args: readonly string[],
): void {
  const { program, images, work, flags } = options;
  for (const folder of [images, work]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  const log = `${action}.log`;
  const common = ['--images-dir', images, '--work-dir', work, '--log-file', log, '-v2'];
  const result = spawnSync(program, [action, ...common, ...flags, ...args], { encoding: 'utf8' });
  if (result.error !== undefined)
    throw new CheckpointError(`cannot run ${program}: ${errnoOf(result.error)}`, {
      hint: 'Install criu, or name it with --criu.',
      cause: result.error,
    });
  if (result.status === 0) return;
  const said =
    firstError(readLog(join(work, log))) ?? firstError(result.stderr) ?? `exit status ${result.status}`;
  throw new CheckpointError(`criu ${action} failed: ${said}`, {
    hint: `All that it says is in ${join(work, log)}; criu check tells what this kernel and this criu can do together.`,
  });
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** `(00.036) Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds`: the first of them is the cause of the others. */
export function firstError(log: string): string | undefined {
  const line = log.split('\n').find((text) => /\bError\b/.test(text));
  return line
    ?.replace(/^\([0-9.]+\)\s*/, '')
    .replace(/^Error \([^)]*\):\s*/, '')
    .trim();
}
