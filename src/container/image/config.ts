/**
 * The image configuration (OCI image-spec, config.md): which layers the image unpacks to, and how its program is meant to run.
 */
import { type Digest, isDigest } from './digest.js';
import { ImageFormatError } from './errors.js';
import { JsonView } from './json.js';
import { MAX_LAYERS, type Platform } from './manifest.js';

/** How the image's program is meant to run. Lists that are absent are empty. */
export interface ExecutionConfig {
  /** `uid`, `uid:gid`, `name`, `name:group`; empty for root. */
  readonly user: string;
  /** `8080/tcp` */
  readonly exposedPorts: readonly string[];
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** Absolute folders in the container. */
  readonly volumes: readonly string[];
  readonly workingDir: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `SIGTERM` or a number; empty for the default. */
  readonly stopSignal: string;
  /** Docker's; image-spec has no word for it. */
  readonly healthcheck?: Healthcheck;
  /** What runs lines of the health check, docker's too. */
  readonly shell?: readonly string[];
}

/** Times in milliseconds; 0 where the image says nothing. */
export interface Healthcheck {
  /** `NONE`; `CMD` and words; `CMD-SHELL` and a line */
  readonly test: readonly string[];
  readonly interval: number;
  readonly timeout: number;
  readonly startPeriod: number;
  readonly startInterval: number;
  readonly retries: number;
}

export interface ImageConfig {
  readonly platform: Platform;
  /** RFC 3339, as the image says. */
  readonly created: string | undefined;
  readonly author: string | undefined;
  readonly config: ExecutionConfig;
  /** Digests of the layers' uncompressed archives, lowest first. */
  readonly diffIds: readonly Digest[];
}

function words(list: JsonView): string[] {
  const found = list.strings();
  if (found.some((word) => word.includes('\0'))) list.fail('a word holds a NUL byte');
  return found;
}

/** Times of an image are nanoseconds. */
function healthcheck(view: JsonView): Healthcheck {
  const milliseconds = (name: string) => {
    const member = view.member(name);
    return member.isAbsent ? 0 : Math.ceil(member.size() / 1e6);
  };
  const retries = view.member('Retries');
  return {
    test: words(view.member('Test')),
    interval: milliseconds('Interval'),
    timeout: milliseconds('Timeout'),
    startPeriod: milliseconds('StartPeriod'),
    startInterval: milliseconds('StartInterval'),
    retries: retries.isAbsent ? 0 : retries.size(),
  };
}

function executionConfig(view: JsonView): ExecutionConfig {
  const member = (name: string) =>
    view.isAbsent ? new JsonView(undefined, view.document) : view.member(name);
  const ports = member('ExposedPorts');
  for (const port of ports.keys()) {
    if (!/^[0-9]{1,5}(?:-[0-9]{1,5})?(?:\/(?:tcp|udp|sctp))?$/.test(port))
      ports.fail(`"${port}" is not a port`);
  }
  const volumes = member('Volumes');
  for (const volume of volumes.keys())
    if (volume.includes('\0')) volumes.fail('a folder has a NUL byte in its name');
  const env = member('Env').elements();
  for (const variable of env) {
    const text = variable.string();
    if (text.indexOf('=') < 1 || text.includes('\0')) variable.fail('a variable is written NAME=VALUE');
  }
  const workingDir = member('WorkingDir').optionalString() ?? '';
  if (workingDir.includes('\0')) member('WorkingDir').fail('it holds a NUL byte');
  return {
    user: member('User').optionalString() ?? '',
    exposedPorts: ports.keys(),
    env: env.map((one) => one.string()),
    entrypoint: words(member('Entrypoint')),
    cmd: words(member('Cmd')),
    volumes: volumes.keys(),
    workingDir,
    labels: member('Labels').stringMap(),
    stopSignal: member('StopSignal').optionalString() ?? '',
    ...(member('Healthcheck').isAbsent ? {} : { healthcheck: healthcheck(member('Healthcheck')) }),
    ...(member('Shell').isAbsent ? {} : { shell: words(member('Shell')) }),
  };
}

/** @throws ImageFormatError */
export function parseImageConfig(bytes: Buffer, document: string): ImageConfig {
  const view = JsonView.parse(bytes, document);
  const rootfs = view.member('rootfs');
  if (rootfs.isAbsent) rootfs.fail('it is missing: this is no configuration of a container image');
  const type = rootfs.member('type').string();
  if (type !== 'layers') rootfs.member('type').fail('it must be "layers"');
  const diffIds = rootfs
    .member('diff_ids')
    .elements(MAX_LAYERS)
    .map((one) => {
      const digest = one.string();
      if (!isDigest(digest)) return one.fail('not a sha256 or sha512 digest');
      return digest;
    });
  const variant = view.member('variant').optionalString();
  return {
    platform: {
      os: view.member('os').optionalString() ?? 'linux',
      architecture: view.member('architecture').optionalString() ?? 'amd64',
      ...(variant === undefined || variant === '' ? {} : { variant }),
    },
    created: view.member('created').optionalString(),
    author: view.member('author').optionalString(),
    config: executionConfig(view.member('config')),
    diffIds,
  };
}

/** Refuses a configuration that counts other layers than the manifest. @throws ImageFormatError */
export function checkLayerCount(config: ImageConfig, layers: number, document: string): void {
  if (config.diffIds.length === layers) return;
  throw new ImageFormatError(
    `${document} has ${layers} layers in its manifest and ${config.diffIds.length} in its configuration`,
    { code: 'IMAGE_FORMAT' },
  );
}
