import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { expect, test } from 'vitest';
import { bashCompletion, completionTree, fishCompletion, withAliases } from './completion.js';

function sample(): Command {
  const program = new Command('tvmm').addOption(new Option('--log-level <level>').choices(['warn', 'info']));
  program
    .command('boot')
    .description("boot a guest's kernel")
    .option('--kernel <file>', 'an ELF or bzImage')
    .option('--cpus <n>', 'how many')
    .option('--json', 'for programs');
  program.command('rm').description('remove').argument('<container...>');
  program.command('run').description('run').argument('[image]').argument('[command...]');
  program.command('join').description('join').argument('<network>');
  program.command('image').description('images').command('build').description('build one');
  return program;
}

/** What bash would offer for these words, the last one being typed. */
function complete(...words: string[]): string[] {
  const script = `${bashCompletion(completionTree(sample()))}
compopt() { :; }
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _tvmm
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const out = execFileSync('bash', ['-c', script], { encoding: 'utf8', cwd: '/proc/self' });
  return out.split('\n').filter((line) => line !== '');
}

test('bash offers the commands first', () => {
  expect(complete('tvmm', '')).toEqual(['boot', 'rm', 'run', 'join', 'image']);
  expect(complete('tvmm', 'b')).toEqual(['boot']);
});

test('bash offers the options of the command that was named', () => {
  expect(complete('tvmm', 'boot', '--')).toEqual(['--kernel', '--cpus', '--json', '--help']);
});

test('bash descends into subcommands', () => {
  expect(complete('tvmm', 'image', '')).toEqual(['build']);
});

test('bash offers the choices of an option, and files for a path', () => {
  expect(complete('tvmm', '--log-level', 'i')).toEqual(['info']);
  expect(complete('tvmm', 'boot', '--kernel', 'cmd')).toEqual(['cmdline']);
  expect(complete('tvmm', 'boot', '--cpus', '')).toEqual([]);
});

test('bash offers the names of containers where a command takes them', () => {
  const root = mkdtempSync(join(tmpdir(), 'tvmm-complete-'));
  mkdirSync(join(root, 'engine/names'), { recursive: true });
  for (const name of ['web', 'worker', 'db']) writeFileSync(join(root, 'engine/names', name), '');
  try {
    process.env.TVMM_ROOT = root;
    expect(complete('tvmm', 'rm', 'w')).toEqual(['web', 'worker']);
  } finally {
    delete process.env.TVMM_ROOT;
    rmSync(root, { recursive: true });
  }
});

test('bash offers the names of images and networks, as people write them', () => {
  const root = mkdtempSync(join(tmpdir(), 'tvmm-complete-'));
  for (const folder of ['images', 'networks']) mkdirSync(join(root, folder), { recursive: true });
  for (const name of ['docker.io/library/debian', 'docker.io/me/app', 'localhost/own'])
    writeFileSync(
      join(root, 'images', name.replaceAll('/', '-').concat('.json')),
      JSON.stringify({ name, manifest: 'x' }),
    );
  for (const name of ['back.json', 'lock']) writeFileSync(join(root, 'networks', name), '');
  try {
    process.env.TVMM_ROOT = root;
    expect(complete('tvmm', 'run', '').sort()).toEqual(['debian', 'localhost/own', 'me/app']);
    expect(complete('tvmm', 'join', '')).toEqual(['back']);
  } finally {
    delete process.env.TVMM_ROOT;
    rmSync(root, { recursive: true });
  }
});

test('docker’s other words complete as the commands that they stand for', () => {
  const program = sample();
  program.commands.at(-1)?.command('ls').description('list').option('--quiet', 'ids');
  expect(bashCompletion(withAliases(completionTree(program)))).toContain(
    "'images') words='--quiet --help -h'",
  );
});

test('a quote in a description does not break the scripts', () => {
  expect(fishCompletion(completionTree(sample()))).toContain("-a boot -d 'boot a guest’s kernel'");
});

test('fish completes files only for path options', () => {
  const lines = fishCompletion(completionTree(sample())).split('\n');
  expect(lines.find((line) => line.includes('-l kernel'))).toContain(' -r -F');
  expect(lines.find((line) => line.includes('-l cpus'))).toContain(' -x');
});
