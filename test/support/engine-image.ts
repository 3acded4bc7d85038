/** A docker-archive with busybox in it, to be loaded into an engine of a test's own. */
import { readFileSync } from 'node:fs';
import { digestOf } from '../../src/container/image/digest.js';
import { type TarInput, tarEnd, tarFile, tarHeader } from '../../src/container/image/tar-writer.js';
import { APPLETS } from './engine.js';

/** @param entries more than busybox and its folders @param config as in the image's configuration: Cmd, Env, Volumes … */
export function busyboxArchive(
  name: string,
  config: Readonly<Record<string, unknown>> = {},
  entries: readonly (TarInput & { readonly body?: string })[] = [],
): Buffer {
  const folders = ['bin', 'etc', 'tmp', 'root', 'proc', 'sys', 'dev'].map((folder) =>
    tarHeader({ name: folder, type: 'directory', mode: folder === 'tmp' ? 0o1777 : 0o755 }),
  );
  const layer = Buffer.concat([
    ...folders,
    tarFile({ name: 'bin/busybox', mode: 0o755 }, readFileSync('/bin/busybox')),
    ...APPLETS.map((applet) => tarHeader({ name: `bin/${applet}`, type: 'symlink', linkName: 'busybox' })),
    tarFile({ name: 'etc/passwd' }, Buffer.from('root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n')),
    tarFile({ name: 'etc/group' }, Buffer.from('root:x:0:\nalice:x:1000:\n')),
    ...entries.map(({ body, ...entry }) =>
      body === undefined ? tarHeader(entry) : tarFile(entry, Buffer.from(body)),
    ),
    tarEnd(),
  ]);
  return dockerArchive(name, config, layer);
}

/** A docker-archive of one layer. */
export function dockerArchive(
  name: string,
  config: Readonly<Record<string, unknown>>,
  layer: Buffer,
): Buffer {
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  const document = json({
    architecture: 'amd64',
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
    // Builders count the layers in here.
    history: [{ created: '2026-01-01T00:00:00Z', created_by: 'a test' }],
  });
  return Buffer.concat([
    tarFile({ name: 'config.json' }, document),
    tarFile({ name: 'layer.tar' }, layer),
    tarFile(
      { name: 'manifest.json' },
      json([{ Config: 'config.json', RepoTags: [name], Layers: ['layer.tar'] }]),
    ),
    tarEnd(),
  ]);
}
