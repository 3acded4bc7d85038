/**
 * Health checks, docker's: a command that is run in the container from time to time and tells by its exit status whether the container is
 * well. Here is what a check consists of, out of the options and the image's HEALTHCHECK; when it is due the minder knows, and
 * run-check.ts runs it. Pure.
 */
import { OptionError } from '../errors.js';
import type { ContainerOptions } from '../options/options.js';
import { type Infer, list, number, object, oneOf, text, withDefault } from '../shape.js';

/** In a container's record. Times are milliseconds. */
export const healthCheckShape = object({
  command: list(text),
  /** From the end of one check to the next; negative: only when somebody asks. */
  interval: number,
  timeout: number,
  /** So many failures in a row make a container unhealthy. */
  retries: number,
  /** After the start, failures do not count for so long. */
  startPeriod: number,
  /** The interval meanwhile. */
  startInterval: number,
  /** What becomes of an unhealthy container. */
  onFailure: withDefault(oneOf('none', 'kill', 'stop'), 'none'),
});
export type HealthCheck = Infer<typeof healthCheckShape>;

/** HEALTHCHECK of an image's configuration; times in milliseconds, 0 for the default. */
export interface ImageHealthcheck {
  /** `NONE`; `CMD` and words; `CMD-SHELL` and a line for the shell. Empty: none. */
  readonly test: readonly string[];
  readonly interval: number;
  readonly timeout: number;
  readonly retries: number;
  readonly startPeriod: number;
  readonly startInterval: number;
}

type HealthOptions = Pick<
  ContainerOptions,
  | 'healthCmd'
  | 'healthInterval'
  | 'healthTimeout'
  | 'healthRetries'
  | 'healthStartPeriod'
  | 'healthStartInterval'
  | 'healthOnFailure'
  | 'noHealthcheck'
>;

const DEFAULTS = { interval: 30_000, timeout: 30_000, retries: 3, startPeriod: 0, startInterval: 5000 };
const SHELL = ['/bin/sh', '-c'];
/** As long as Node's timers and the minder's arithmetic go. */
const MAX_MS = 2 ** 31 - 1;

/** `--health-cmd`: a line for the shell, or podman's JSON list as images have it. @throws OptionError */
function testOf(command: string): readonly string[] {
  const refuse = (problem: string): never => {
    throw new OptionError('--health-cmd', `${JSON.stringify(command)} ${problem}`);
  };
  if (command.trim() === '') return refuse('is no command');
  if (command.includes('\0')) return refuse('holds a NUL byte');
  if (command === 'none') return ['NONE'];
  if (!command.startsWith('[')) return ['CMD-SHELL', command];
  let words: unknown;
  try {
    words = JSON.parse(command);
  } catch {
    // `[ -e /run/ready ]` is a command of the shell.
    return ['CMD-SHELL', command];
  }
  if (!Array.isArray(words) || words.length === 0) return refuse('is no list of words');
  const texts = words.map((word: unknown) =>
    typeof word === 'string' ? word : refuse('is no list of words'),
  );
  return ['NONE', 'CMD', 'CMD-SHELL'].includes(texts[0] ?? '') ? texts : ['CMD', ...texts];
}

/** The words that are run; undefined for no check. @throws OptionError */
function commandOf(
  option: string,
  [kind, ...words]: readonly string[],
  shell: readonly string[],
): readonly string[] | undefined {
  if (kind === undefined || kind === 'NONE') return undefined;
  const isKnown = kind === 'CMD' ? words.length > 0 : kind === 'CMD-SHELL' && words.length === 1;
  if (!isKnown || words[0] === '')
    throw new OptionError(
      option,
      `${JSON.stringify([kind, ...words])} is no check`,
      'it is ["CMD", program, argument…], ["CMD-SHELL", line] or ["NONE"]; --no-healthcheck leaves it out',
    );
  return kind === 'CMD' ? words : [...(shell.length > 0 ? shell : SHELL), ...words];
}

function positive(option: string, given: number | undefined, image: number | undefined, fallback: number) {
  if (given !== undefined && (given < 0 || given > MAX_MS || !Number.isFinite(given)))
    throw new OptionError(option, `${given} is out of range`);
  // 0 is docker's word for "as it is anyway".
  return Math.min(given || image || fallback, MAX_MS);
}

/** The check of a container; undefined for none. @throws OptionError */
export function healthCheckOf(
  options: HealthOptions,
  image: {
    readonly healthcheck?: ImageHealthcheck | undefined;
    readonly shell?: readonly string[] | undefined;
  },
): HealthCheck | undefined {
  const times = [
    options.healthInterval,
    options.healthTimeout,
    options.healthStartPeriod,
    options.healthStartInterval,
  ];
  const details = [...times, options.healthRetries, options.healthOnFailure].some((one) => one !== undefined);
  if (options.noHealthcheck) {
    if (details || options.healthCmd !== undefined)
      throw new OptionError('--no-healthcheck', 'cannot be combined with --health-* options');
    return undefined;
  }
  const command =
    options.healthCmd === undefined
      ? commandOf('the image’s HEALTHCHECK', image.healthcheck?.test ?? [], image.shell ?? [])
      : commandOf('--health-cmd', testOf(options.healthCmd), image.shell ?? []);
  if (command === undefined) {
    if (details && options.healthCmd === undefined)
      throw new OptionError(
        '--health-*',
        'there is no check that they could be about',
        'add --health-cmd COMMAND',
      );
    return undefined;
  }
  const onFailure = (['none', 'kill', 'stop'] as const).find(
    (one) => one === (options.healthOnFailure ?? 'none'),
  );
  if (onFailure === undefined)
    throw new OptionError(
      '--health-on-failure',
      `${JSON.stringify(options.healthOnFailure)} is not none, kill or stop`,
      'to have it started again: --health-on-failure kill --restart always',
    );
  const { healthcheck } = image;
  return {
    command,
    interval:
      options.healthInterval === -1
        ? -1
        : positive('--health-interval', options.healthInterval, healthcheck?.interval, DEFAULTS.interval),
    timeout: positive('--health-timeout', options.healthTimeout, healthcheck?.timeout, DEFAULTS.timeout),
    retries: positive('--health-retries', options.healthRetries, healthcheck?.retries, DEFAULTS.retries),
    startPeriod: positive(
      '--health-start-period',
      options.healthStartPeriod,
      healthcheck?.startPeriod,
      DEFAULTS.startPeriod,
    ),
    startInterval: positive(
      '--health-start-interval',
      options.healthStartInterval,
      healthcheck?.startInterval,
      DEFAULTS.startInterval,
    ),
    onFailure,
  };
}
