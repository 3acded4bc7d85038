/** checkpoint and restore. */
import { resolve } from 'node:path';
import { type CheckpointOptions, refuseRestore } from '../container/runtime/checkpoint.js';
import type { OciAction, OciCall } from './oci.js';
import { UsageError } from './usage-error.js';

/** Flags that criu spells as we do. */
const PASSED = [
  'tcp-established',
  'tcp-skip-in-flight',
  'link-remap',
  'ext-unix-sk',
  'shell-job',
  'lazy-pages',
  'file-locks',
  'auto-dedup',
];
const NAMED: Readonly<Record<string, string>> = { 'tcp-skip-in-flight': 'skip-in-flight' };

function checkpointOptions({ values, global, surroundings: { cwd } }: OciCall): CheckpointOptions {
  const images = resolve(cwd, values.words('image-path') ?? 'checkpoint');
  const parent = values.words('parent-path');
  if (parent?.startsWith('/') === true) throw new UsageError('--parent-path must be relative');
  const server = /^(.+):([0-9]{1,5})$/.exec(values.words('page-server') ?? '');
  if (values.words('page-server') !== undefined && server === null)
    throw new UsageError('Use --page-server ADDRESS:PORT to specify page server');
  return {
    program: global.words('criu') ?? 'criu',
    images,
    work: resolve(cwd, values.words('work-path') ?? images),
    leaveRunning: values.flag('leave-running'),
    preDump: values.flag('pre-dump'),
    flags: [
      ...PASSED.filter((name) => values.flag(name)).map((name) => `--${NAMED[name] ?? name}`),
      ...(parent === undefined ? [] : ['--prev-images-dir', parent, '--track-mem']),
      ...(server === null ? [] : ['--page-server', '--address', server[1] ?? '', '--port', server[2] ?? '']),
    ],
  };
}

export function checkpointOrRestore(name: string): OciAction {
  if (name === 'restore') return refuseRestore;
  return async (call) => {
    await call.runtime.checkpoint(call.id, checkpointOptions(call));
    return 0;
  };
}
