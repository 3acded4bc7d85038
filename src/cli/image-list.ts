/** `tvmm image ls`: the images, as a table, as JSON or by a template. */
import type { Command } from 'commander';
import type { StoredImage } from '../container/image/store.js';
import { collect } from './engine/common.js';
import { type Filters, filterOf, hasLabel, isTrue } from './engine/filters.js';
import { type FormatFlags, printFormatted, withFormat } from './engine/format.js';
import { ago, openSession, rootOption, type StoreFlags, shortId, table } from './image-session.js';
import { formatSize } from './units.js';

const FIELDS = ['Repository', 'Tag', 'ID', 'Digest', 'CreatedAt', 'CreatedSince', 'Size', 'Labels'] as const;

interface Found {
  /** As people write it. */
  readonly name: string;
  readonly manifest: string;
  readonly pulledAt: number;
  /** Undefined when it is damaged. */
  readonly image: StoredImage | undefined;
  readonly bytes: number;
}

/** `registry.example:5000/app:1` in two. */
function nameParts(name: string): { repository: string; tag: string } {
  const [, repository = name, tag = '<none>'] = /^(.*?)(?::([^:/@]+))?(?:@.*)?$/.exec(name) ?? [];
  return { repository, tag };
}

/** `*` stands for anything within a name. */
function isLike(name: string, pattern: string): boolean {
  const words = pattern.split('*').map((word) => word.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${words.join('.*')}$`).test(name) || nameParts(name).repository === pattern;
}

function filters(found: readonly Found[], used: ReadonlySet<string>): Filters<Found> {
  const when = (name: string) =>
    found.find((one) => one.name === name || one.image?.id.includes(name) === true)?.pulledAt ?? Number.NaN;
  return {
    reference: ({ name }, value) => isLike(name, value),
    label: ({ image }, value) => hasLabel(image?.config.config.labels ?? {}, value),
    // Ours always have a name: dangling is what no container uses and nobody has named.
    dangling: ({ name, manifest }, value) =>
      (name.startsWith('localhost/untitled:') && !used.has(manifest)) === isTrue('dangling', value),
    before: ({ pulledAt }, value) => pulledAt < when(value),
    since: ({ pulledAt }, value) => pulledAt > when(value),
  };
}

function row(one: Found, whole: boolean): Record<(typeof FIELDS)[number], unknown> {
  const { repository, tag } = nameParts(one.name);
  const id = one.image?.id ?? one.manifest;
  return {
    Repository: repository,
    Tag: tag,
    ID: whole ? id : shortId(id),
    Digest: one.manifest,
    CreatedAt: one.image?.config.created ?? '',
    CreatedSince: ago(Date.now() - Date.parse(one.image?.config.created ?? '')),
    Size: formatSize(one.bytes),
    Labels: new Map(Object.entries(one.image?.config.config.labels ?? {})),
  };
}

interface ListFlags extends StoreFlags, FormatFlags {
  readonly quiet?: boolean;
  readonly trunc?: boolean;
  readonly filter?: readonly string[];
}

async function list(wanted: string | undefined, flags: ListFlags): Promise<void> {
  using session = await openSession(flags);
  const { images, store } = session;
  const { rootfsUses } = await import('../container/image/collect.js');
  const all: Found[] = [];
  for (const record of await store.records()) {
    const image = await store.load(record.manifest, record.name).catch(() => undefined);
    all.push({
      name: images.familiarName(images.parseReference(record.name)),
      manifest: record.manifest,
      pulledAt: record.pulledAt,
      image,
      bytes: image === undefined ? 0 : await images.imageSize(store, image),
    });
  }
  const used = new Set((await rootfsUses(store)).map(({ manifest }) => String(manifest)));
  const matches = filterOf(filters(all, used), flags.filter);
  const found = all.filter((one) => matches(one) && (wanted === undefined || isLike(one.name, wanted)));
  const whole = flags.trunc === false;
  const own = () =>
    found.map(({ name, image, manifest, pulledAt, bytes }) => ({
      name,
      id: image?.id,
      manifest,
      pulledAt: new Date(pulledAt).toISOString(),
      bytes,
    }));
  if (printFormatted(flags, own, () => found.map((one) => row(one, whole)))) return;
  if (flags.quiet === true) {
    const ids = found.map(({ image, manifest }) => image?.id ?? manifest);
    process.stdout.write([...new Set(ids)].map((id) => `${id}\n`).join(''));
    return;
  }
  const rows = found.map(({ name, image, manifest, pulledAt, bytes }) => [
    name,
    whole ? (image?.id ?? manifest) : shortId(image?.id ?? manifest),
    ago(Date.now() - pulledAt),
    image === undefined ? 'damaged' : formatSize(bytes),
  ]);
  process.stdout.write(table([['NAME', 'ID', 'PULLED', 'SIZE'], ...rows]));
}

/** Adds `ls`. */
export function registerList(image: Command): void {
  withFormat(
    image
      .command('ls')
      .alias('list')
      .description('list the images')
      .argument('[name]', 'only those of this name; * stands for anything')
      .option('-q, --quiet', 'print the ids only')
      .option('--no-trunc', 'whole ids')
      .option(
        '-f, --filter <name=value>',
        'reference=PATTERN, label=NAME[=VALUE], dangling=true, before=, since=',
        collect,
      ),
    FIELDS,
  )
    .addOption(rootOption())
    .action(list);
}
