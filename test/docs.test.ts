/** The documents name files that exist, so that they do not fall behind what is renamed. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { packageRoot } from 'tvmm';
import { expect, test } from 'vitest';

const root = packageRoot();
const read = (path: string) => readFileSync(join(root, path), 'utf8');

/** All files below a folder, by their paths. */
function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) =>
    join(folder, path),
  );
}

const documents = [
  'README.md',
  'ARCHITECTURE.md',
  ...filesBelow('docs').filter((path) => path.endsWith('.md')),
];

test.each(documents)('the links of %s lead to files', (document) => {
  const targets = [...read(document).matchAll(/\]\(([^)#]+)[^)]*\)/g)].map(([, target = '']) => target);
  const local = targets.filter((target) => !/^[a-z]+:/.test(target));
  expect(local.filter((target) => !existsSync(join(root, dirname(document), target)))).toEqual([]);
});

test('every source file and every test that docs/oci.md names is there', () => {
  const words = [...read('docs/oci.md').matchAll(/(?<![\w/.-])([\w-]+(?:\/[\w-]+)*)\.(test|ts|h)\b/g)];
  expect(words.length).toBeGreaterThan(80);
  const tests = new Set(
    [...filesBelow('src/container'), ...filesBelow('test')].map((path) => basename(path)),
  );
  const missing = words
    .map(([, name = '', kind]) => ({ name, kind }))
    .filter(({ name, kind }) =>
      kind === 'test' && !name.includes('/')
        ? !tests.has(`${name}.test.ts`)
        : ['src/container', 'src', ''].every(
            (folder) => !existsSync(join(root, folder, `${name}.${kind === 'test' ? 'test.ts' : kind}`)),
          ),
    );
  expect(missing.filter(({ name }) => !tests.has(`${name}.ts`))).toEqual([]);
});

test('every folder of src and of src/container stands in the table of ARCHITECTURE.md', () => {
  const text = read('ARCHITECTURE.md');
  const folders = ['src', 'src/container'].flatMap((folder) =>
    readdirSync(join(root, folder), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${folder}/${entry.name}/`),
  );
  expect(folders.filter((folder) => folder !== 'src/container/' && !text.includes(folder))).toEqual([]);
});
