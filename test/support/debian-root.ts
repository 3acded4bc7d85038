/**
 * A Debian root file system with apt, made of what is installed here: the packages that apt, dpkg and a shell depend on, file by file, and their
 * part of dpkg's data base. It takes seconds and no network; documentation and translations are left out.
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

const WANTED = [
  'apt',
  'dpkg',
  'tar',
  'dash',
  'coreutils',
  'libc-bin',
  'debianutils',
  'diffutils',
  'grep',
  'sed',
];
const LEFT_OUT = /^\/usr\/share\/(doc|man|locale|info|lintian|bash-completion|zoneinfo)\//;
/** dpkg's data base. */
const DPKG = '/var/lib/dpkg';

/** Paragraphs of dpkg's status file (deb-control(5)) by package. */
function installed(): Map<string, string> {
  const paragraphs = readFileSync(join(DPKG, 'status'), 'utf8').split('\n\n');
  return new Map(
    paragraphs.flatMap((text) => {
      const name = /^Package: (.*)$/m.exec(text)?.[1];
      return name === undefined || !/^Status: .* installed$/m.test(text) ? [] : [[name, text] as const];
    }),
  );
}

/** The packages and all that they depend on. Of alternatives, those that are installed. */
function closure(packages: ReadonlyMap<string, string>, names: readonly string[]): Set<string> {
  const found = new Set<string>();
  const open = [...names];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const text = packages.get(name);
    if (text === undefined || found.has(name)) continue;
    found.add(name);
    const fields = [...text.matchAll(/^(?:Pre-)?Depends: (.*)$/gm)].map(([, list = '']) => list);
    open.push(
      ...fields
        .join(',')
        .split(/[,|]/)
        .map((one) => one.trim().replace(/[ :(].*$/, '')),
    );
  }
  return found;
}

/** Where a path really lies: most of Debian's paths still name /bin and /lib. */
function real(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    return path;
  }
}

/** Fills `root`, which must not be there yet. */
export function makeDebianRoot(root: string): void {
  const packages = installed();
  const names = closure(packages, WANTED);
  const info = readdirSync(join(DPKG, 'info')).filter((file) =>
    names.has(file.replace(/(:[^.:]*)?\.[^.]*$/, '')),
  );
  const paths = info
    .filter((file) => file.endsWith('.list'))
    .flatMap((file) => readFileSync(join(DPKG, 'info', file), 'utf8').split('\n'))
    .filter((path) => path.length > 1 && !LEFT_OUT.test(`${path}/`) && path !== '/.');
  const list = [...new Set(paths.map(real))].map((path) => `.${path}\0`).join('');
  mkdirSync(root);
  // A bin that is a link comes from here, too.
  for (const link of ['bin', 'sbin', 'lib', 'lib64'])
    if (realpathSync(`/${link}`) === `/usr/${link}`) symlinkSync(`usr/${link}`, join(root, link));
  const read = ['-C', '/', '-c', '--no-recursion', '--ignore-failed-read', '--null', '-T', '-'];
  const archive = execFileSync('tar', read, {
    input: list,
    maxBuffer: 2 ** 30,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  execFileSync('tar', ['-C', root, '-x', '--keep-directory-symlink'], { input: archive });
  for (const folder of [
    'proc',
    'sys',
    'dev',
    'tmp',
    'root',
    'etc/apt/sources.list.d',
    'var/lib/dpkg/info',
    'var/lib/dpkg/updates',
    'var/lib/apt/lists/partial',
    'var/cache/apt/archives/partial',
    'var/log/apt',
  ])
    mkdirSync(join(root, folder), { recursive: true });
  for (const file of info) copyFileSync(join(DPKG, 'info', file), join(root, DPKG, 'info', file));
  writeFileSync(join(root, DPKG, 'status'), [...names].map((name) => `${packages.get(name)}\n\n`).join(''));
  writeFileSync(
    join(root, 'etc/passwd'),
    'root:x:0:0::/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n',
  );
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nadm:x:4:\nnogroup:x:65534:\n');
}
