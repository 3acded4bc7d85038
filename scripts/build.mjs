/**
 * Builds dist/ from src, bench, examples and firmware: bundles with shared chunks (few files to open at start-up), type
 * declarations, flat guests and C tools. Checks no types: that is the tests' work, and a newcomer's first start should not wait.
 *
 * Flat output on purpose: threads and chunks find each other as siblings of the running module. `--no-types` leaves the
 * declarations out, `--only cli,index` builds these bundles and nothing else, `--if-needed` ends at once when dist/ is already made
 * from these sources.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { builtHash, inputHash, stampFile } from './stamp.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);

const hash = inputHash(root);
if (process.argv.includes('--if-needed') && hash === builtHash(root)) process.exit(0);
// An interrupted build leaves no stamp, so that the next one starts anew.
rmSync(stampFile(root), { force: true });

/**
 * What dist/ holds, by name, in groups that share chunks. A thread is a module graph of its own, so sharing would only give it more files
 * to open; the library's entries must share, or an error of one would not be an instance of the other's class.
 */
const GROUPS = [
  { 'commands-main': 'src/cli/commands-main.ts' },
  {
    index: 'src/index.ts',
    container: 'src/container/index.ts',
    kvm: 'src/kvm/index.ts',
    memory: 'src/memory/index.ts',
  },
  { prepare: 'src/cli/prepare.ts' },
];
/**
 * CommonJS, one file each with what they import lazily inside: opening files costs more than skipping over text, the loader of ES modules
 * costs a fifth of a start, and V8's code cache (src/sys/code-cache.ts) takes whole scripts. These are what Node starts; they load the others.
 */
const ENTRIES = {
  cli: 'src/cli/main.ts',
  oci: 'src/cli/oci-bin.ts',
  'container-exited': 'src/container/engine/exited-bin.ts',
  thread: 'src/vmm/thread-main.ts',
};
/** Scripts that come out of V8's code cache. They stand in the function that Node would wrap them in: to do it at each start copies them. */
const CACHED = {
  'boot-main': 'src/cli/boot-main.ts',
  'vcpu-thread': 'src/vmm/vcpu-thread.ts',
  'io-thread': 'src/vmm/io-thread.ts',
};
/** Those of them that start all the time. They cannot import(), and open koffi by its path. */
const DIRECT = {
  'oci-main': 'src/cli/oci.ts',
  'rootless-main': 'src/cli/rootless-main.ts',
  'engine-main': 'src/cli/engine-main.ts',
  'exited-main': 'src/container/engine/exited-main.ts',
};
const only = process.argv.includes('--only')
  ? process.argv[process.argv.indexOf('--only') + 1]?.split(',')
  : undefined;
/** The guests of firmware/ are linked where their source says `@link 0x8000`; here where it says nothing. */
const DEFAULT_LINK_ADDRESS = '0x1000';

const { build } = await import('esbuild');

const common = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'linked',
  logLevel: 'warning',
  minify: false,
  metafile: true,
};

/** Runs a tool; its complaint ends the build. */
function run(command, args) {
  const result = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.error !== undefined) {
    console.error(
      `build: ${command} cannot be run (${result.error.code}); npm run setup installs what is needed`,
    );
    process.exit(1);
  }
  if (result.status !== 0) {
    console.error(`build: ${command} ${args.slice(-1)} failed`);
    process.exit(1);
  }
}

function sourcesIn(folder, extension) {
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(extension)) : [];
}

/** commander loads child_process for a feature that tvmm does not use, and with it net, dgram and streams: at first use is soon enough. */
const lazyChildProcess = {
  name: 'lazy-child-process',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      importer.includes('/commander/') ? { path: 'child_process', namespace: 'lazy' } : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'lazy' }, () => ({
      contents: "module.exports = { get spawn() { return require('child_process').spawn; } };",
    }));
  },
};

/**
 * koffi finds its binary by reading Node's own ELF headers and resolving three packages: a tenth of a cold start. Where the binary stands is
 * known here, so it is opened by its path; anything unexpected goes the usual way. A module of ES, or each of its users would copy its exports.
 */
const directKoffi = {
  name: 'direct-koffi',
  setup({ onResolve, onLoad }) {
    const { version } = JSON.parse(readFileSync('node_modules/koffi/package.json', 'utf8'));
    onResolve({ filter: /^koffi$/ }, ({ namespace }) =>
      namespace === 'direct' ? { path: 'koffi', external: true } : { path: 'koffi', namespace: 'direct' },
    );
    onLoad({ filter: /.*/, namespace: 'direct' }, () => ({
      contents: `
        import { dirname, join } from 'node:path';
        function direct() {
          const native = { exports: {} };
          try {
            const folder = join(dirname(__filename), '../node_modules/@koromix/koffi-linux-x64/linux_x64');
            process.dlopen(native, join(folder, 'koffi.node'));
          } catch {
            return undefined;
          }
          return native.exports.version === ${JSON.stringify(version)} ? native.exports : undefined;
        }
        export default direct() ?? require('koffi');
      `,
    }));
  },
};

async function bundlePrograms() {
  const made = new Set();
  for (const group of GROUPS) {
    const entryPoints = Object.fromEntries(
      Object.entries(group).filter(([name]) => only === undefined || only.includes(name)),
    );
    if (Object.keys(entryPoints).length === 0) continue;
    const result = await build({
      ...common,
      entryPoints,
      outdir: 'dist',
      splitting: true,
      // commander is bundled: one file fewer to find and open at each start. It is CommonJS and wants a require.
      external: ['koffi', 'pino'],
      banner: {
        js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
      },
    });
    for (const path of Object.keys(result.metafile.outputs)) made.add(basename(path));
  }
  const wanted = (scripts) =>
    Object.fromEntries(Object.entries(scripts).filter(([name]) => only === undefined || only.includes(name)));
  // Caches of another build: V8 would notice most of them, by their length.
  rmSync('dist/code-cache', { recursive: true, force: true });
  const script = {
    ...common,
    outdir: 'dist',
    format: 'cjs',
    outExtension: { '.js': '.cjs' },
    external: ['koffi', 'pino', './commands-main.js'],
    plugins: [lazyChildProcess],
    define: { 'import.meta.dirname': '__dirname', 'import.meta.filename': '__filename' },
  };
  await build({ ...script, entryPoints: wanted(ENTRIES) });
  const cached = {
    ...script,
    banner: { js: '(function (exports, require, module, __filename, __dirname) {' },
    footer: { js: '})' },
    // What is not read need not be copied either: a fourth of the text. Names stay, and lines short enough for a stack trace to point at.
    minifyWhitespace: true,
    lineLimit: 120,
  };
  await build({ ...cached, entryPoints: wanted(CACHED) });
  await build({
    ...cached,
    entryPoints: wanted(DIRECT),
    external: ['pino'],
    plugins: [lazyChildProcess, directKoffi],
    supported: { 'dynamic-import': false },
  });
  for (const name of readdirSync('dist')) {
    if (only === undefined && /-[A-Z0-9]{8}\.js(\.map)?$/.test(name) && !made.has(name))
      rmSync(join('dist', name));
  }
  for (const program of ['dist/cli.cjs', 'dist/oci.cjs']) if (existsSync(program)) chmodSync(program, 0o755);
  writeFileSync('dist/cli.js', "#!/usr/bin/env node\nimport './cli.cjs';\n", { mode: 0o755 });
}

/** bench/ and examples/ import the package by its name, as its users do, so nothing of it is bundled into them. */
async function bundleUsers(folder) {
  const sources = sourcesIn(folder, '.ts').filter((name) => !name.endsWith('.test.ts'));
  if (sources.length === 0) return;
  await build({
    ...common,
    entryPoints: sources.map((name) => join(folder, name)),
    outdir: join('dist', folder),
    packages: 'external',
    // Without this esbuild would follow the "paths" of tsconfig.json into src.
    tsconfigRaw: { compilerOptions: { target: 'ES2022', verbatimModuleSyntax: true } },
  });
}

/** Emits beside and renames, so that a reader never finds half of the declarations. */
function emitTypes() {
  rmSync('dist/types.new', { recursive: true, force: true });
  run('node_modules/.bin/tsc', ['-p', 'tsconfig.build.json', '--outDir', 'dist/types.new']);
  rmSync('dist/types', { recursive: true, force: true });
  renameSync('dist/types.new', 'dist/types');
}

/** A flat binary: linked at its address, then nothing but the bytes. 16-, 32- and 64-bit code alike is assembled as ELF64. */
function assemble(name, scratch) {
  const source = join('firmware', name);
  const stem = basename(name, '.S');
  const address = /@link\s+(0x[0-9a-fA-F]+)/.exec(readFileSync(source, 'utf8'))?.[1] ?? DEFAULT_LINK_ADDRESS;
  const object = join(scratch, `${stem}.o`);
  const elf = join(scratch, `${stem}.elf`);
  run('gcc', ['-c', '-nostdlib', '-ffreestanding', '-I', 'firmware', '-o', object, source]);
  run('ld', [
    '-m',
    'elf_x86_64',
    // One segment is what a flat binary is; nothing loads this ELF.
    '--no-warn-rwx-segments',
    '-T',
    'firmware/flat.ld',
    `--defsym=FLAT_BASE=${address}`,
    '-o',
    elf,
    object,
  ]);
  run('objcopy', ['-O', 'binary', elf, join('dist/firmware', `${stem}.bin`)]);
}

/** A program of a few KB without a C library, in one piece: it is copied into memory at every start. */
const FREESTANDING = [
  '-Os',
  '-static',
  '-nostdlib',
  '-ffreestanding',
  '-fno-pic',
  '-no-pie',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-fcf-protection=none',
  // Or gcc would make the loop inside memcpy a call of memcpy.
  '-fno-tree-loop-distribute-patterns',
  '-Wl,-z,noseparate-code,-z,noexecstack,--build-id=none',
  '-s',
];

/** What a tool's source asks for: tools that run in a guest say `@static`, since there are no libraries there. */
function toolFlags(source) {
  if (/@freestanding\b/.test(source)) return FREESTANDING;
  return /@static\b/.test(source) ? ['-O2', '-static'] : ['-O2'];
}

function buildFirmware() {
  const guests = sourcesIn('firmware', '.S');
  const tools = sourcesIn('firmware', '.c');
  if (guests.length + tools.length === 0) return;
  mkdirSync('dist/firmware', { recursive: true });
  const scratch = mkdtempSync(join(tmpdir(), 'tvmm-firmware-'));
  try {
    for (const name of guests) assemble(name, scratch);
    for (const name of tools) {
      run('gcc', [
        '-Wall',
        '-Wextra',
        ...toolFlags(readFileSync(join('firmware', name), 'utf8')),
        '-o',
        join('dist/firmware', basename(name, '.c')),
        join('firmware', name),
      ]);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

mkdirSync('dist', { recursive: true });
try {
  await bundlePrograms();
  if (only !== undefined) process.exit(0);
  await bundleUsers('bench');
  await bundleUsers('examples');
} catch {
  // esbuild has said what and where; its stack would only hide that.
  process.exit(1);
}
buildFirmware();
// Without declarations dist/ is not complete, so it gets no stamp.
if (!process.argv.includes('--no-types')) {
  emitTypes();
  writeFileSync(stampFile(root), `${hash}\n`);
}
