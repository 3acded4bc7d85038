/**
 * Lays out the tree of the default root image: busybox and its applets, the running Node with its libraries, tvmm itself with
 * the packages it needs at run time, and the few files of /etc that programs look for. Copies; never links to the host's files,
 * whose times it would change.
 */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseAppletList } from './busybox.js';
import { runCommand } from './command.js';
import { ROOT_INIT_SCRIPT } from './init-script.js';

/** What goes into the root image. */
export interface StageParts {
  /** Absolute path of a static busybox. */
  busybox: string;
  /** Absolute path of the Node binary. */
  node: string;
  /** tvmm's package root; its dist folder is left out where it does not exist. */
  packageRoot: string;
  tvmmVersion: string;
}

/** Where tvmm stands in the guest. */
const HOME_OF_TVMM = 'usr/lib/tvmm';

/** Whether a file or folder of dist has no business in a guest. */
export function isLeftOut(name: string): boolean {
  return /^(types|bench|examples|code-cache)$|\.map$/.test(name);
}

const ETC: Readonly<Record<string, string>> = {
  passwd: 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  group: 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n',
  shadow: 'root:*:18262:0:99999:7:::\nnobody:*:18262:0:99999:7:::\n',
  hostname: 'tvmm-guest\n',
  hosts: '127.0.0.1 localhost tvmm-guest\n::1 localhost\n',
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
  'resolv.conf': '',
  shells: '/bin/sh\n',
  profile: [
    'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    "export PS1='[guest] \\w # '",
    'export PAGER=less EDITOR=vi',
    '',
  ].join('\n'),
};

/** Fills the empty folder `root`. */
export async function stageRoot(root: string, parts: StageParts): Promise<void> {
  const at = (path: string) => join(root, path);
  for (const folder of [
    'usr/bin',
    'usr/sbin',
    'usr/lib',
    'usr/lib64',
    'usr/local/bin',
    'usr/local/sbin',
    'etc',
    'var/lib',
    'var/log',
    'root',
    'proc',
    'sys',
    'dev',
    'run',
    'tmp',
    'mnt',
    'opt',
    'srv',
    'home',
  ]) {
    mkdirSync(at(folder), { recursive: true });
  }
  chmodSync(at('tmp'), 0o1777);
  chmodSync(at('root'), 0o700);
  for (const folder of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${folder}`, at(folder));
  symlinkSync('../run', at('var/run'));
  symlinkSync('../tmp', at('var/tmp'));

  await stageBusybox(root, parts.busybox);
  await stageNode(root, parts.node);
  stageTvmm(root, parts.packageRoot);

  for (const [name, text] of Object.entries(ETC)) writeFileSync(at(`etc/${name}`), text);
  chmodSync(at('etc/shadow'), 0o600);
  symlinkSync('/proc/mounts', at('etc/mtab'));
  const release = {
    NAME: 'tvmm guest',
    ID: 'tvmm',
    VERSION_ID: parts.tvmmVersion,
    PRETTY_NAME: 'tvmm default guest',
  };
  writeFileSync(
    at('etc/os-release'),
    Object.entries(release)
      .map(([key, value]) => `${key}="${value}"\n`)
      .join(''),
  );
  writeFileSync(at('usr/sbin/init'), ROOT_INIT_SCRIPT, { mode: 0o755 });
}

async function stageBusybox(root: string, busybox: string): Promise<void> {
  const target = join(root, 'usr/bin/busybox');
  copyFileSync(busybox, target);
  chmodSync(target, 0o755);
  const list = (await runCommand(busybox, ['--list-full'])).toString('utf8');
  for (const applet of parseAppletList(list)) {
    const name = basename(applet);
    const folder = applet.includes('sbin/') ? 'usr/sbin' : 'usr/bin';
    const link = join(root, folder, name);
    // `init` would be found before ours is written.
    if (name === 'busybox' || name === 'init' || existsSync(link)) continue;
    symlinkSync('/usr/bin/busybox', link);
  }
}

async function stageNode(root: string, node: string): Promise<void> {
  copyFileSync(node, join(root, 'usr/bin/node'));
  chmodSync(join(root, 'usr/bin/node'), 0o755);
  for (const library of parseLdd((await runCommand('ldd', [node])).toString('utf8'))) {
    // The staged /lib and /lib64 are links into usr, so the host's own spelling of the path is right here too.
    const target = join(root, library);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(library, target);
    chmodSync(target, 0o755);
  }
}

/** Absolute paths of the libraries, and of the loader, in the output of ldd(1). */
export function parseLdd(text: string): string[] {
  const paths = [...text.matchAll(/^\s*(?:\S+ => )?(\/\S+) \(0x/gm)].map((match) => match[1] ?? '');
  return [...new Set(paths)];
}

function stageTvmm(root: string, packageRoot: string): void {
  const dist = join(packageRoot, 'dist');
  if (!existsSync(join(dist, 'cli.js'))) return;
  const home = join(root, HOME_OF_TVMM);
  copyTree(dist, join(home, 'dist'), (name) => !isLeftOut(name));
  copyFileSync(join(packageRoot, 'package.json'), join(home, 'package.json'));
  for (const [name, folder] of runtimePackages(packageRoot)) {
    copyTree(
      folder,
      join(home, 'node_modules', name),
      (entry) => !/^(test|docs?|benchmarks?)$|\.(md|map|ts)$/.test(entry),
    );
  }
  chmodSync(join(home, 'dist/cli.js'), 0o755);
  symlinkSync('../lib/tvmm/dist/cli.js', join(root, 'usr/bin/tvmm'));
}

/** The packages that `packageRoot` needs at run time, and all that they need: name to folder. */
export function runtimePackages(packageRoot: string): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (folder: string) => {
    const manifest: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    for (const name of [...keysOf(manifest, 'dependencies'), ...keysOf(manifest, 'optionalDependencies')]) {
      if (found.has(name)) continue;
      const place = findPackageFolder(name, folder);
      // Optional ones for other systems are not installed; a missing needed one shows when tvmm starts in the guest.
      if (place === undefined) continue;
      found.set(name, place);
      visit(place);
    }
  };
  visit(packageRoot);
  return found;
}

function keysOf(manifest: unknown, field: string): string[] {
  if (typeof manifest !== 'object' || manifest === null) return [];
  const value: unknown = Reflect.get(manifest, field);
  return typeof value === 'object' && value !== null ? Object.keys(value) : [];
}

/** Node's own search: node_modules in `from` and in every folder above it. */
function findPackageFolder(name: string, from: string): string | undefined {
  for (let folder = realpathSync(from); ; folder = dirname(folder)) {
    const place = join(folder, 'node_modules', name);
    if (existsSync(join(place, 'package.json'))) return place;
    if (folder === '/') return undefined;
  }
}

/** Copies files and folders whose names pass `wanted`; follows links, so that nothing points out of the image. */
function copyTree(from: string, to: string, wanted: (name: string) => boolean): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    // A package's own node_modules are found and copied by runtimePackages.
    if (!wanted(entry.name) || entry.name === 'node_modules') continue;
    const source = realpathSync(join(from, entry.name));
    if (lstatSync(source).isDirectory()) copyTree(source, join(to, entry.name), wanted);
    else copyFileSync(source, join(to, entry.name));
  }
}
