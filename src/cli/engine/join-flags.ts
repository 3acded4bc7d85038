/** `--attach`, `--detach-keys` and `--sig-proxy`: how run, start and attach join a container. */
import type { Command } from 'commander';
import { parseDetachKeys } from '../../container/engine/detach-keys.js';
import { UsageError } from '../usage-error.js';
import { here, type JoinOptions } from './here.js';

export interface JoinFlags {
  readonly detachKeys?: string | undefined;
  readonly sigProxy?: boolean | undefined;
  /** Of run alone. */
  readonly attach?: readonly string[] | undefined;
}

export type JoinWishes = Pick<JoinOptions, 'signals' | 'outputs' | 'detachKeys'> & {
  /** false: stdin stays open, and nobody feeds it. */
  readonly input: boolean;
};

export function addJoinOptions(command: Command): Command {
  return command
    .option('--detach-keys <keys>', 'what leaves it running in a terminal (default: ctrl-p,ctrl-q)')
    .option('--no-sig-proxy', 'do not pass signals on');
}

/** @throws UsageError */
export function joinWishes({ detachKeys, sigProxy, attach }: JoinFlags): JoinWishes {
  const streams = attach?.map((word) => word.toLowerCase());
  const odd = streams?.find((word) => !['stdin', 'stdout', 'stderr'].includes(word));
  if (odd !== undefined) throw new UsageError(`--attach ${odd} is not stdin, stdout or stderr`);
  const keys = detachKeys === undefined ? undefined : parseDetachKeys(detachKeys);
  if (detachKeys !== undefined && keys === undefined)
    throw new UsageError(
      `--detach-keys ${JSON.stringify(detachKeys)} are no keys`,
      'letters and ctrl-LETTER with commas between them, for instance ctrl-x,q',
    );
  if (keys !== undefined || streams !== undefined) here().needOwnProcess();
  return {
    signals: sigProxy !== false,
    input: streams?.includes('stdin') !== false,
    ...(streams === undefined
      ? {}
      : { outputs: (['stdout', 'stderr'] as const).filter((one) => streams.includes(one)) }),
    ...(keys === undefined ? {} : { detachKeys: keys }),
  };
}
