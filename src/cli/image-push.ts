/** `tvmm image push`: an image to a registry. */
import { type Command, Option } from 'commander';
import type * as Images from '../container/image/index.js';
import { openSession, rootOption, type StoreFlags } from './image-session.js';

interface PushFlags extends StoreFlags {
  readonly tlsVerify: string;
  readonly quiet?: boolean;
  readonly digestfile?: string;
}

/** One line of progress out of what the layers report. */
function pushLine(name: string): (progress: Images.PushProgress) => string {
  const layers = new Map<string, { bytes: number; size: number }>();
  return (progress) => {
    if (progress.kind === 'upload') layers.set(progress.digest, progress);
    const sum = (of: 'bytes' | 'size'): string =>
      ([...layers.values()].reduce((total, one) => total + one[of], 0) / 2 ** 20).toFixed(0);
    return layers.size === 0 ? `${name}: looking` : `${name}: ${sum('bytes')} of ${sum('size')} MiB`;
  };
}

async function push(name: string, destination: string | undefined, flags: PushFlags): Promise<void> {
  const { silent, showProgress } = await import('../guest/progress.js');
  using session = await openSession(flags);
  const { images, store, signal } = session;
  let digest: string;
  {
    using display = flags.quiet === true ? undefined : showProgress();
    const report = display?.report ?? silent;
    const line = pushLine(destination ?? name);
    digest = await images.pushImage(store, name, destination?.replace(/^docker:\/\//, ''), {
      tlsVerify: flags.tlsVerify !== 'false',
      signal,
      onProgress: (progress) => report(line(progress)),
    });
  }
  if (flags.digestfile !== undefined) {
    const { writeFileSync } = await import('node:fs');
    writeFileSync(flags.digestfile, digest);
  }
  process.stdout.write(`${digest}\n`);
}

/** Adds `push`. */
export function registerPush(image: Command): void {
  image
    .command('push')
    .description('push an image to a registry; prints the digest of its manifest')
    .argument('<image>', 'name or id')
    .argument('[destination]', 'where it goes, such as registry.example:5000/team/app:1 (default: its name)')
    .addOption(
      new Option('--tls-verify <bool>', 'false takes any certificate, and plain http')
        .choices(['true', 'false'])
        .default('true'),
    )
    .option('--digestfile <file>', 'write the digest into a file as well')
    .option('-q, --quiet', 'no progress')
    .addOption(rootOption())
    .action(push);
}
