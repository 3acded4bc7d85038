/**
 * Finds kernel modules and what they need. Dependencies come from each module's own `.modinfo` section ("depends="), since
 * a package that was unpacked and never installed has no modules.dep; {@link writeModulesDep} writes one for modprobe.
 * {@link moduleAliases} gives those by which the kernel asks for modules itself. Knows nothing of soft dependencies.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { TvmmError } from '../sys/errors.js';
import { runCommand } from './command.js';

/** A module that is missing or damaged. */
export class ModuleError extends TvmmError {}

/** A module to load. */
export interface ModuleFile {
  /** With underscores, as /proc/modules has it. */
  readonly name: string;
  /** Absolute path; may end in .xz, .zst or .gz. */
  readonly path: string;
}

const MODULE_FILE = /\.ko(\.(xz|zst|gz))?$/;

/** `virtio-rng`, `virtio_rng` and `virtio-rng.ko.xz` all name `virtio_rng`. */
export function moduleName(nameOrFile: string): string {
  return basename(nameOrFile).replace(MODULE_FILE, '').replaceAll('-', '_');
}

/** All modules below `modulesDir` (`…/lib/modules/VERSION`), by name. */
export function listModules(modulesDir: string): Map<string, ModuleFile> {
  const found = new Map<string, ModuleFile>();
  const walk = (folder: string) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (MODULE_FILE.test(entry.name))
        found.set(moduleName(entry.name), { name: moduleName(entry.name), path });
    }
  };
  walk(modulesDir);
  return found;
}

/** Names of what is built into the kernel itself (`modules.builtin`). */
export function listBuiltins(modulesDir: string): Set<string> {
  const file = join(modulesDir, 'modules.builtin');
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  return new Set(lines.filter((line) => line !== '').map(moduleName));
}

/** The bytes of a module as insmod wants them: decompressed. */
export async function readModule(module: ModuleFile): Promise<Buffer> {
  const bytes = readFileSync(module.path);
  if (module.path.endsWith('.xz')) return runCommand('xz', ['-dc'], { input: bytes });
  if (module.path.endsWith('.zst')) return runCommand('zstd', ['-dc'], { input: bytes });
  return module.path.endsWith('.gz') ? gunzipSync(bytes) : bytes;
}

/** Ends a signed module, behind a module_signature of 12 bytes whose last four are the signature's length (module_signature.h). */
const SIGNATURE_MAGIC = Buffer.from('~Module signature appended~\n');
const SIGNATURE_DESCRIPTOR = 12;

/**
 * A module without its appended signature. Verifying one costs the guest more than loading it, and the module came out of a
 * package that apt has verified; a kernel that insists on signatures (module.sig_enforce) refuses it, though.
 */
export function withoutSignature(module: Buffer): Buffer {
  const end = module.length - SIGNATURE_MAGIC.length;
  if (end < SIGNATURE_DESCRIPTOR || !module.subarray(end).equals(SIGNATURE_MAGIC)) return module;
  const length = end - SIGNATURE_DESCRIPTOR - module.readUInt32BE(end - 4);
  return length > 0 ? module.subarray(0, length) : module;
}

/**
 * The files of the modules `names` and of all that they depend on, each once, in an order in which insmod succeeds.
 * Built-in ones are left out. A name may end in `?`: it is left out where this kernel does not have it.
 * Throws {@link ModuleError} for any other name that this kernel does not have.
 */
export async function resolveModules(modulesDir: string, names: readonly string[]): Promise<ModuleFile[]> {
  const available = listModules(modulesDir);
  const builtins = listBuiltins(modulesDir);
  const ordered: ModuleFile[] = [];
  const state = new Map<string, 'open' | 'done'>();

  const visit = async (wanted: string, neededBy?: string): Promise<void> => {
    const optional = wanted.endsWith('?');
    const name = moduleName(optional ? wanted.slice(0, -1) : wanted);
    if (state.get(name) === 'done' || builtins.has(name)) return;
    if (state.get(name) === 'open') {
      throw new ModuleError(`the kernel module ${name} depends on itself`, { code: 'MODULE_CYCLE' });
    }
    const module = available.get(name);
    if (module === undefined) {
      if (optional) return;
      const reason = neededBy === undefined ? '' : ` that ${neededBy} needs`;
      throw new ModuleError(`${modulesDir} has no kernel module ${name}${reason}`, {
        code: 'MODULE_MISSING',
      });
    }
    state.set(name, 'open');
    for (const dependency of dependenciesOf(await readModule(module), module.path))
      await visit(dependency, name);
    state.set(name, 'done');
    ordered.push(module);
  };
  for (const name of names) await visit(name);
  return ordered;
}

/** The `depends=` list of a module's `.modinfo` section (ELF-64, little-endian; include/linux/moduleparam.h). */
export function dependenciesOf(elf: Uint8Array, name: string): string[] {
  const [line = ''] = informationOf(elf, name, 'depends');
  return line.split(',').filter((entry) => entry !== '');
}

/** Values of one key of a module's `.modinfo` section. */
function informationOf(elf: Uint8Array, name: string, key: string): string[] {
  const info = section(elf, '.modinfo');
  if (info === undefined) throw new ModuleError(`${name} is not a kernel module`, { code: 'MODULE_INVALID' });
  return info
    .toString('latin1')
    .split('\0')
    .filter((entry) => entry.startsWith(`${key}=`))
    .map((entry) => entry.slice(key.length + 1));
}

/**
 * The lines of a `modules.alias` (depmod(8)) for the modules of some folders, without the patterns of devices: what the kernel asks for when
 * a program wants a kind of link, an address family, a rule's match or a cipher.
 *
 * @param folders below `modulesDir`; those that are missing have none
 */
export async function moduleAliases(modulesDir: string, folders: readonly string[]): Promise<string> {
  const lines: string[] = [];
  for (const folder of folders.map((one) => join(modulesDir, one)).filter(existsSync)) {
    for (const module of listModules(folder).values()) {
      const aliases = informationOf(await readModule(module), module.path, 'alias');
      for (const alias of aliases)
        if (/^[A-Za-z0-9_+().,-]+$/.test(alias)) lines.push(`alias ${alias} ${module.name}\n`);
    }
  }
  return lines.sort().join('');
}

/** A section of an ELF-64 file by name; undefined where there is none or the file is damaged. */
function section(elf: Uint8Array, name: string): Buffer | undefined {
  const bytes = Buffer.from(elf.buffer, elf.byteOffset, elf.byteLength);
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2) return undefined;
  const table = Number(bytes.readBigUInt64LE(0x28)); // e_shoff
  const entrySize = bytes.readUInt16LE(0x3a);
  const count = bytes.readUInt16LE(0x3c);
  const namesIndex = bytes.readUInt16LE(0x3e);
  if (entrySize < 64 || table + entrySize * count > bytes.length || namesIndex >= count) return undefined;
  const body = (index: number): Buffer => {
    const header = table + index * entrySize;
    const offset = Number(bytes.readBigUInt64LE(header + 0x18));
    const size = Number(bytes.readBigUInt64LE(header + 0x20));
    return bytes.subarray(offset, offset + size); // subarray clamps to the file
  };
  const names = body(namesIndex);
  for (let index = 0; index < count; index++) {
    const at = bytes.readUInt32LE(table + index * entrySize);
    if (names.subarray(at, at + name.length + 1).toString('latin1') === `${name}\0`) return body(index);
  }
  return undefined;
}

/**
 * Writes `modules.dep` (depmod(8)): a line a module, its file and then everything it needs, nearest first, so that busybox
 * and kmod's modprobe work on a tree that was only unpacked. Runs the host's depmod too where it has one, for the
 * binary index files that kmod wants.
 */
export async function writeModulesDep(modulesDir: string): Promise<void> {
  const modules = listModules(modulesDir);
  const direct = new Map<string, string[]>();
  for (const module of modules.values()) {
    direct.set(module.name, dependenciesOf(await readModule(module), module.path).map(moduleName));
  }
  const relative = (name: string) => modules.get(name)?.path.slice(modulesDir.length + 1);
  const lines: string[] = [];
  for (const name of modules.keys()) {
    const loadOrder: string[] = [];
    const seen = new Set([name]);
    const visit = (of: string) => {
      for (const dependency of direct.get(of) ?? []) {
        if (seen.has(dependency) || !modules.has(dependency)) continue;
        seen.add(dependency);
        visit(dependency);
        loadOrder.push(dependency);
      }
    };
    visit(name);
    const needed = loadOrder.reverse();
    lines.push(`${relative(name)}:${needed.map((one) => ` ${relative(one)}`).join('')}\n`);
  }
  writeFileSync(join(modulesDir, 'modules.dep'), lines.join(''));
  const root = modulesDir.replace(/\/lib\/modules\/[^/]+$/, '');
  try {
    await runCommand('depmod', ['-b', root, basename(modulesDir)]);
  } catch (error) {
    if (!(error instanceof TvmmError && error.code === 'COMMAND_MISSING')) throw error;
  }
}
