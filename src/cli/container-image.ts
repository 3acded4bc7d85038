/**
 * `tvmm image pull|push|load|save|ls|rm|inspect|prune|tag|history|import`: container images, beside the default guest's `build` and `path`. Parses and prints;
 * the work is src/container/image, imported when a command runs.
 */
import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import type * as Images from '../container/image/index.js';
import { addExists } from './engine/exists.js';
import { register as registerGuest } from './image.js';
import { registerChanges } from './image-changes.js';
import { registerList } from './image-list.js';
import { registerPush } from './image-push.js';
import { openSession, print, rootOption, type StoreFlags, shortId } from './image-session.js';
import { failureText } from './report.js';
import { formatSize, sizeOption } from './units.js';
import { UsageError } from './usage-error.js';

const HELP = `
Container images are kept in TVMM_ROOT, else in /var/lib/tvmm for root and in ~/.local/share/tvmm for everyone else; --root
says otherwise. Names are written as elsewhere: debian:12 is docker.io/library/debian:12. Passwords are taken from
~/.docker/config.json (with its helpers), where tvmm login writes them, and containers/auth.json, proxies from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

Examples:
  tvmm image pull debian:12
  tvmm image pull --tls-verify=false --creds me:secret registry.example:5000/team/app
  tvmm image tag debian:12 registry.example/team/base:1 && tvmm image push registry.example/team/base:1
  tvmm image save debian:12 | ssh other tvmm image load
  tvmm image prune --keep 10G                remove what was not used for longest
`;

/** One line of progress out of what the layers report. */
function pullLine(name: string): (progress: Images.PullProgress) => string {
  const layers = new Map<string, { bytes: number; size: number }>();
  return (progress) => {
    if (progress.kind === 'download') layers.set(progress.digest, progress);
    if (progress.kind === 'unpacking') return `${name}: unpacking ${shortId(progress.digest)}`;
    const all = [...layers.values()];
    const sum = (of: 'bytes' | 'size'): number => all.reduce((total, one) => total + one[of], 0);
    const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
    return all.length === 0
      ? `${name}: looking`
      : `${name}: ${megabytes(sum('bytes'))} of ${megabytes(sum('size'))}`;
  };
}

interface PullFlags extends StoreFlags {
  readonly platform?: string;
  readonly tlsVerify: string;
  readonly creds?: string;
  readonly authfile?: string;
  readonly quiet?: boolean;
}

/** @throws UsageError */
function credentialsOf({
  creds,
  authfile,
}: PullFlags): Pick<Images.PullOptions, 'credentials' | 'environment'> {
  const [, username, password] = /^([^:]+):(.*)$/s.exec(creds ?? '') ?? [];
  if (creds !== undefined && (username === undefined || password === undefined))
    throw new UsageError(
      '--creds is not USER:PASSWORD',
      'a password that others must not see in the list of processes belongs in a file: --authfile',
    );
  if (authfile !== undefined && !existsSync(authfile)) throw new UsageError(`there is no file ${authfile}`);
  return {
    ...(username === undefined || password === undefined
      ? {}
      : { credentials: { kind: 'password', username, password } }),
    ...(authfile === undefined ? {} : { environment: { ...process.env, REGISTRY_AUTH_FILE: authfile } }),
  };
}

async function pull(names: readonly string[], flags: PullFlags): Promise<void> {
  const credentials = credentialsOf(flags);
  const { silent, showProgress } = await import('../guest/progress.js');
  using session = await openSession(flags);
  const { images, store, signal } = session;
  for (const name of names) {
    using display = flags.quiet === true ? undefined : showProgress();
    const report = display?.report ?? silent;
    const line = pullLine(name);
    const image = await images.pullImage(store, name, {
      tlsVerify: flags.tlsVerify !== 'false',
      ...credentials,
      signal,
      onProgress: (progress) => report(line(progress)),
      ...(flags.platform === undefined ? {} : { platform: images.parsePlatform(flags.platform) }),
    });
    display?.[Symbol.dispose]();
    process.stdout.write(`${image.id}\n`);
  }
}

async function load(
  path: string | undefined,
  flags: StoreFlags & { input?: string; name?: string; platform?: string },
): Promise<void> {
  if (path !== undefined && flags.input !== undefined)
    throw new UsageError(`give either ${path} or --input ${flags.input}`);
  const input = path ?? flags.input;
  if (input === undefined && process.stdin.isTTY) {
    throw new UsageError('there is nothing to load', 'name a file or a folder, or send an archive to stdin');
  }
  using session = await openSession(flags);
  const { images, store, signal } = session;
  const source = input === undefined || input === '-' ? { stream: process.stdin, what: 'stdin' } : input;
  const loaded = await images.loadImages(store, source, {
    signal,
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.platform === undefined ? {} : { platform: images.parsePlatform(flags.platform) }),
  });
  for (const { name, id } of loaded) {
    process.stdout.write(`${name === undefined ? id : images.familiarName(images.parseReference(name))}\n`);
  }
}

async function save(
  names: readonly string[],
  flags: StoreFlags & { output?: string; format: Images.SaveFormat },
): Promise<void> {
  const { output, format } = flags;
  if (format === 'oci-dir' && output === undefined)
    throw new UsageError('--format oci-dir needs --output FOLDER');
  if (output === undefined && process.stdout.isTTY) {
    throw new UsageError(
      'an archive is not for the terminal',
      'give --output FILE, or send stdout to a file or a pipe',
    );
  }
  using session = await openSession(flags);
  const { images, store, signal } = session;
  if (format === 'oci-dir' && output !== undefined) {
    await images.saveImages(store, names, output, format, { signal });
    return;
  }
  if (output === undefined) {
    await images.saveImages(store, names, process.stdout, format, { signal });
    return;
  }
  const { createWriteStream } = await import('node:fs');
  const { rename, rm } = await import('node:fs/promises');
  const { finished } = await import('node:stream/promises');
  // The file has its name once it is whole.
  const partial = `${output}.partial`;
  const stream = createWriteStream(partial);
  try {
    await images.saveImages(store, names, stream, format, { signal });
    stream.end();
    await finished(stream);
    await rename(partial, output);
  } catch (error) {
    stream.destroy();
    await rm(partial, { force: true });
    throw error;
  }
}

async function inspect(names: readonly string[], flags: StoreFlags): Promise<void> {
  using session = await openSession(flags);
  const { images, store } = session;
  const found = [];
  for (const text of names) {
    const image = await store.find(text);
    const { config, manifest } = image;
    found.push({
      id: image.id,
      manifest: image.manifestDigest,
      names: await store.namesOf(image.manifestDigest),
      platform: images.formatPlatform(config.platform),
      created: config.created,
      bytes: await images.imageSize(store, image),
      config: config.config,
      layers: manifest.layers.map(({ digest, mediaType, size }, i) => ({
        digest,
        mediaType,
        size,
        diffId: config.diffIds[i],
        folder: image.chain[i] === undefined ? undefined : store.layerFolder(image.chain[i]),
      })),
    });
  }
  print(found);
}

async function remove(names: readonly string[], flags: StoreFlags & { force?: boolean }): Promise<void> {
  using session = await openSession(flags);
  const { images, store, signal } = session;
  for (const name of names) {
    try {
      const removed = await images.removeImage(store, name, { signal, force: flags.force === true });
      for (const gone of removed.names) process.stdout.write(`${gone}\n`);
    } catch (error) {
      signal.throwIfAborted();
      // One that fails does not keep the others from it.
      if (names.length === 1) throw error;
      process.stderr.write(failureText(error, false));
      process.exitCode = 1;
    }
  }
}

async function prune(flags: StoreFlags & { all?: boolean; keep?: number }): Promise<void> {
  using session = await openSession(flags);
  const { images, store, signal } = session;
  const removed = await images.pruneImages(store, {
    signal,
    all: flags.all === true,
    ...(flags.keep === undefined ? {} : { keepBytes: flags.keep }),
  });
  for (const gone of removed.names) process.stdout.write(`${gone}\n`);
  process.stderr.write(`tvmm: ${formatSize(removed.bytes)} freed\n`);
}

/** Adds `image` with all its commands to the program. */
export function register(program: Command): void {
  registerGuest(program);
  const image = program.commands.find((command) => command.name() === 'image');
  if (image === undefined) throw new Error('the image command is missing');
  image
    .description('Container images; and the default guest: build it, or say where its files are.')
    .addHelpText('after', HELP);
  const platform = (): Option =>
    new Option('--platform <os/arch>', 'take the image of another platform from an index');
  image
    .command('pull')
    .description('pull images from a registry; prints their ids')
    .argument('<name...>', 'such as debian:12 or registry.example:5000/team/app@sha256:…')
    .addOption(platform())
    .addOption(
      new Option('--tls-verify <bool>', 'false takes any certificate, and plain http')
        .choices(['true', 'false'])
        .default('true'),
    )
    .option('--creds <user:password>', 'instead of what the files of other tools say')
    .option('--authfile <path>', 'the only file of credentials, in the format of ~/.docker/config.json')
    .option('-q, --quiet', 'no progress')
    .addOption(rootOption())
    .action(pull);
  image
    .command('load')
    .description(
      'load images from an OCI layout, a docker-dir, an oci-archive or a docker-archive; prints their names',
    )
    .argument('[path]', 'a file or folder; default: stdin')
    .option('-i, --input <path>', 'the same')
    .option('--name <name>', 'name the only image of the input')
    .addOption(platform())
    .addOption(rootOption())
    .action(load);
  image
    .command('save')
    .description('save images to stdout or a file')
    .argument('<image...>', 'names or ids')
    .option('-o, --output <path>', 'a file, or for oci-dir a new folder')
    .addOption(
      new Option('--format <format>', 'what to write')
        .choices(['docker-archive', 'oci-archive', 'oci-dir'])
        .default('docker-archive'),
    )
    .addOption(rootOption())
    .action(save);
  registerPush(image);
  addExists(image, 'image', async (word) => {
    using session = await openSession({});
    return await session.store.find(word);
  });
  registerList(image);
  registerChanges(image);
  image
    .command('inspect')
    .description('print what is known of images, as JSON')
    .argument('<image...>', 'names or ids')
    .addOption(rootOption())
    .action(inspect);
  image
    .command('rm')
    .description('remove images, unless a container uses them')
    .argument('<image...>', 'names or ids')
    .option('-f, --force', 'also if containers use them (their layers stay), and by id all names')
    .addOption(rootOption())
    .action(remove);
  image
    .command('prune')
    .description('remove leftovers, and on request images that no container uses, least recently used first')
    .option('-a, --all', 'all images that no container uses')
    .option('-f, --force', 'as it is anyway: nothing is asked')
    .addOption(
      new Option('--keep <size>', 'only until the images take less, e.g. 10G').argParser(
        sizeOption('--keep'),
      ),
    )
    .addOption(rootOption())
    .action(prune);
}
