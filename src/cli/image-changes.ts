/** `tvmm image tag|history|import`: names for images, how one came to be, and images out of root file systems. */
import type { Command } from 'commander';
import { collect } from './engine/common.js';
import { ago, openSession, print, rootOption, type StoreFlags, table } from './image-session.js';
import { formatSize } from './units.js';
import { UsageError } from './usage-error.js';

async function tag(source: string, names: readonly string[], flags: StoreFlags): Promise<void> {
  using session = await openSession(flags);
  const { images, store, signal } = session;
  const references = names.map((name) => images.parseReference(name));
  if (references.some(({ digest }) => digest !== undefined))
    throw new UsageError('a digest cannot be given to an image as a name', 'give a name and a tag');
  using _lock = await store.share({ signal });
  const image = await store.find(source);
  for (const reference of references)
    await store.tag(images.formatReference(reference), image.manifestDigest);
}

async function history(name: string, flags: StoreFlags & { json?: boolean }): Promise<void> {
  using session = await openSession(flags);
  const { store } = session;
  const { historyOf } = await import('../container/image/history.js');
  const steps = await historyOf(store, await store.find(name));
  if (flags.json === true) {
    print(steps);
    return;
  }
  // Control characters of a command must not reach the terminal.
  const shown = (text: string) => JSON.stringify(text).slice(1, -1).slice(0, 80);
  const rows = steps.map(({ created, createdBy, bytes, comment }) => [
    created === undefined ? '' : ago(Date.now() - Date.parse(created)),
    shown(createdBy),
    bytes === undefined ? '' : formatSize(bytes),
    shown(comment),
  ]);
  process.stdout.write(table([['CREATED', 'CREATED BY', 'SIZE', 'COMMENT'], ...rows]));
}

interface ImportFlags extends StoreFlags {
  readonly change?: readonly string[];
  readonly message?: string;
  readonly author?: string;
}

async function importRoot(source: string, name: string | undefined, flags: ImportFlags): Promise<void> {
  if (/^https?:/.test(source))
    throw new UsageError(
      'image import reads files, not addresses',
      `fetch it first: curl -L ${source} | tvmm image import -`,
    );
  if (source === '-' && process.stdin.isTTY)
    throw new UsageError('there is nothing to import', 'name a file, or send an archive to stdin');
  using session = await openSession(flags);
  const { store, signal } = session;
  const [{ layerFile, makeImage }, { applyChanges }] = await Promise.all([
    import('../container/image/make-image.js'),
    import('../container/image/changes.js'),
  ]);
  const image = await makeImage(store, {
    layer: source === '-' ? process.stdin : layerFile(source),
    name,
    createdBy: `import ${source}`,
    comment: flags.message,
    author: flags.author,
    configure: (config) => applyChanges(config, flags.change ?? []),
    signal,
  });
  process.stdout.write(`${image.id}\n`);
}

/** Adds `tag`, `history` and `import`. */
export function registerChanges(image: Command): void {
  image
    .command('tag')
    .description('give an image more names')
    .argument('<image>', 'name or id')
    .argument('<name...>', 'the new names')
    .addOption(rootOption())
    .action(tag);
  image
    .command('history')
    .description('show the steps that an image was made in, the last one first')
    .argument('<image>', 'name or id')
    .option('--json', 'print them as a JSON array')
    .addOption(rootOption())
    .action(history);
  image
    .command('import')
    .description('make an image of a root file system in a tar archive, packed or not; prints its id')
    .argument('<file>', 'the archive, or - for stdin')
    .argument('[name]', 'name of the image')
    .option(
      '-c, --change <instruction>',
      'CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR …',
      collect,
    )
    .option('-m, --message <text>', 'a comment for its history')
    .option('--author <name>', 'who has made it')
    .addOption(rootOption())
    .action(importRoot);
}
