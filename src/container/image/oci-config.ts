/**
 * From an image's configuration to the parts of an OCI runtime configuration (OCI image-spec, conversion.md). Pure: what needs the image's
 * files (user names, volumes' contents) is left to the caller.
 */
import type { ExecutionConfig, ImageConfig } from './config.js';
import { UserError } from './errors.js';

/** What the user of the engine says instead of the image. */
export interface ProcessOverrides {
  /** Replaces the entrypoint, and drops the image's arguments with it. Empty: none. */
  readonly entrypoint?: readonly string[];
  /** Replaces the image's arguments. */
  readonly args?: readonly string[];
  /** `NAME=VALUE` adds or replaces, `NAME` alone takes away. */
  readonly env?: readonly string[];
  readonly user?: string;
  readonly cwd?: string;
  readonly stopSignal?: string;
}

export interface ImageProcess {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  /** To be resolved by resolveUser. */
  readonly user: string;
  readonly stopSignal: string;
  /** `80/tcp` */
  readonly exposedPorts: readonly string[];
  /** Absolute folders that get storage of their own. */
  readonly volumes: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
}

/** What a shell has when nobody says otherwise; images without one are rare but exist. */
const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Later variables win over earlier ones of the same name, in the place of the first. */
export function mergeEnvironment(base: readonly string[], changes: readonly string[]): string[] {
  const merged = new Map<string, string>();
  for (const text of [...base, ...changes]) {
    const equals = text.indexOf('=');
    if (equals > 0) merged.set(text.slice(0, equals), text);
    else merged.delete(text);
  }
  return [...merged.values()];
}

function annotationsOf(image: ImageConfig): Record<string, string> {
  const { config, platform, created, author } = image;
  const known = {
    'org.opencontainers.image.os': platform.os,
    'org.opencontainers.image.architecture': platform.architecture,
    'org.opencontainers.image.variant': platform.variant,
    'org.opencontainers.image.author': author,
    'org.opencontainers.image.created': created,
    'org.opencontainers.image.stopSignal': config.stopSignal === '' ? undefined : config.stopSignal,
    'org.opencontainers.image.exposedPorts':
      config.exposedPorts.length === 0 ? undefined : config.exposedPorts.join(','),
  };
  const annotations: Record<string, string> = {};
  for (const [key, value] of Object.entries(known)) if (value !== undefined) annotations[key] = value;
  // Labels are the image's own word and win, as conversion.md has it.
  return { ...annotations, ...config.labels };
}

/** @throws UserError when neither the image nor the user says what to run */
export function imageProcess(image: ImageConfig, overrides: ProcessOverrides = {}): ImageProcess {
  const { config } = image;
  const entrypoint = overrides.entrypoint ?? config.entrypoint;
  const given = overrides.args !== undefined && overrides.args.length > 0 ? overrides.args : undefined;
  const args = [...entrypoint, ...(given ?? (overrides.entrypoint === undefined ? config.cmd : []))];
  if (args[0] === undefined || args[0] === '') {
    throw new UserError('the image names no program to run', {
      code: 'NO_COMMAND',
      hint: 'Write the command after the name of the image.',
    });
  }
  const cwd = overrides.cwd ?? config.workingDir;
  return {
    args,
    env: mergeEnvironment([DEFAULT_PATH, ...config.env], overrides.env ?? []),
    // Relative to the root, as Docker takes it.
    cwd: cwd.startsWith('/') ? cwd : `/${cwd}`,
    user: overrides.user ?? config.user,
    stopSignal: overrides.stopSignal ?? stopSignalOf(config),
    exposedPorts: config.exposedPorts.map((port) => (port.includes('/') ? port : `${port}/tcp`)),
    volumes: config.volumes.map((folder) => (folder.startsWith('/') ? folder : `/${folder}`)),
    annotations: annotationsOf(image),
  };
}

function stopSignalOf({ stopSignal }: ExecutionConfig): string {
  return stopSignal === '' ? 'SIGTERM' : stopSignal;
}
