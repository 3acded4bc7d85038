import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  dependenciesOf,
  moduleAliases,
  moduleName,
  resolveModules,
  withoutSignature,
  writeModulesDep,
} from './modules.js';

let root = '';
let modulesDir = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tvmm-modules-'));
  modulesDir = join(root, 'lib/modules/1.0');
  mkdirSync(modulesDir, { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

/** The smallest ELF-64 file with a .modinfo section: header, names, info, three section headers. */
function moduleElf(depends: string, more = ''): Buffer {
  const names = Buffer.from('\0.modinfo\0.shstrtab\0');
  const info = Buffer.from(`license=GPL\0depends=${depends}\0name=x\0${more}`);
  const table = 64 + names.length + info.length;
  const elf = Buffer.alloc(table + 3 * 64);
  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  elf.writeBigUInt64LE(BigInt(table), 0x28);
  elf.writeUInt16LE(64, 0x3a);
  elf.writeUInt16LE(3, 0x3c);
  elf.writeUInt16LE(2, 0x3e);
  elf.set(names, 64);
  elf.set(info, 64 + names.length);
  const header = (index: number, name: number, offset: number, size: number) => {
    elf.writeUInt32LE(name, table + index * 64);
    elf.writeBigUInt64LE(BigInt(offset), table + index * 64 + 0x18);
    elf.writeBigUInt64LE(BigInt(size), table + index * 64 + 0x20);
  };
  header(1, 1, 64 + names.length, info.length);
  header(2, 10, 64, names.length);
  return elf;
}

function add(path: string, depends: string, pack = (bytes: Buffer) => bytes): void {
  const file = join(modulesDir, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, pack(moduleElf(depends)));
}

test('a name means the same with dashes, underscores or as a file', () => {
  expect(['virtio-rng', 'virtio_rng', 'a/virtio-rng.ko.xz'].map(moduleName)).toEqual(
    Array(3).fill('virtio_rng'),
  );
});

test('dependencies come first, each once, and built-in ones not at all', async () => {
  add('kernel/virtio_pci.ko', 'virtio,virtio_ring,core');
  add('kernel/virtio.ko', 'virtio_ring');
  add('kernel/virtio_ring.ko', '');
  add('kernel/virtio_blk.ko.gz', 'virtio', (bytes) => gzipSync(bytes));
  writeFileSync(join(modulesDir, 'modules.builtin'), 'kernel/core.ko\n');
  const files = await resolveModules(modulesDir, ['virtio-pci', 'virtio_blk', 'core', 'absent?']);
  expect(files.map(({ name }) => name)).toEqual(['virtio_ring', 'virtio', 'virtio_pci', 'virtio_blk']);
});

test('a missing module is named, with the module that needs it', async () => {
  add('a.ko', 'b');
  await expect(resolveModules(modulesDir, ['a'])).rejects.toThrow('has no kernel module b that a needs');
});

test('modules that depend on each other are refused', async () => {
  add('a.ko', 'b');
  add('b.ko', 'a');
  await expect(resolveModules(modulesDir, ['a'])).rejects.toMatchObject({ code: 'MODULE_CYCLE' });
});

test('modules.dep lists a dependency behind everything that needs it', async () => {
  add('a.ko', 'b,d');
  add('b.ko', 'c');
  add('c.ko', 'd');
  add('d.ko', '');
  await writeModulesDep(modulesDir);
  const lines = readFileSync(join(modulesDir, 'modules.dep'), 'utf8').split('\n');
  expect(lines).toContain('a.ko: b.ko c.ko d.ko');
  expect(lines).toContain('d.ko:');
});

test('modules.alias has what the kernel asks for by name, and no patterns of devices', async () => {
  const aliases = 'alias=rtnl-link-bridge\0alias=pci:v00001AF4d*sv*\0alias=net-pf-16-proto-12\0alias=a b\0';
  mkdirSync(join(modulesDir, 'kernel/net'), { recursive: true });
  writeFileSync(join(modulesDir, 'kernel/net/my-bridge.ko'), moduleElf('', aliases));
  expect(await moduleAliases(modulesDir, ['kernel/net', 'kernel/missing'])).toBe(
    'alias net-pf-16-proto-12 my_bridge\nalias rtnl-link-bridge my_bridge\n',
  );
});

test('a file that is no module, or a damaged one, is a ModuleError', () => {
  const whole = moduleElf('a,b');
  expect(dependenciesOf(whole, 'm.ko')).toEqual(['a', 'b']);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 8 }), (changes) => {
      const damaged = Buffer.from(whole);
      for (const [at, value] of changes) damaged[at] = value;
      try {
        dependenciesOf(damaged, 'm.ko');
      } catch (error) {
        expect(error).toMatchObject({ code: 'MODULE_INVALID' });
      }
    }),
  );
});

test('an appended signature is taken off, and nothing else', () => {
  const module = moduleElf('');
  const descriptor = Buffer.alloc(12);
  descriptor.writeUInt32BE(300, 8);
  const signed = Buffer.concat([
    module,
    Buffer.alloc(300, 1),
    descriptor,
    Buffer.from('~Module signature appended~\n'),
  ]);
  expect(withoutSignature(signed).equals(module)).toBe(true);
  expect(withoutSignature(module).equals(module)).toBe(true);
  descriptor.writeUInt32BE(0xffff_ffff, 8);
  const lying = Buffer.concat([module, descriptor, Buffer.from('~Module signature appended~\n')]);
  expect(withoutSignature(lying).equals(lying)).toBe(true);
});
