/** `tvmm assess`: how strong the walls of a container are. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Assessment } from '../container/assess/types.js';
import { UsageError } from './usage-error.js';

const HELP = `
CONTAINER is the name or id of a container of tvmm run or of tvmm-oci; BUNDLE is a folder with a config.json. The score goes from
0 (no isolation) to 100; docs/assess.md has its formula. What is assessed is the configuration: it is not proved to be safe.

Examples:
  tvmm assess web
  tvmm assess ./bundle
  tvmm assess --json --min-score 70 web || echo too weak
`;

const round = (points: number) => Math.round(points * 10) / 10;

/** The text for people: the score, its layers, then every finding with what to do. */
function formatAssessment({ score, layers, factor, findings }: Assessment): string {
  const sum = layers.reduce((total, { points }) => total + points, 0);
  const width = Math.max(...layers.map(({ title }) => title.length));
  return [
    `isolation score  ${score} of 100${factor === 1 ? '' : `: ${round(sum)} times ${factor}, for there is a ${findings[0]?.severity} finding`}`,
    ...layers.map(({ title, points, of }) => `  ${title.padEnd(width)}  ${points} of ${of}`),
    '',
    ...(findings.length === 0 ? ['no findings'] : []),
    ...findings.flatMap(({ severity, title, objects, why, recommendation, option }) => [
      `${severity.padEnd(8)}  ${title}${objects.length === 0 ? '' : `: ${objects.join(', ')}`}`,
      `          ${why}`,
      `          do: ${recommendation}`,
      ...(option === undefined ? [] : [`          tvmm run: ${option}`]),
    ]),
    '',
  ].join('\n');
}

/** The folder of the bundle that a word names. @throws UsageError, ContainerNotFoundError */
async function folderOf(word: string, root: string): Promise<string> {
  if (existsSync(join(word, 'config.json'))) return word;
  if (word.includes('/'))
    throw new UsageError(`there is no config.json in ${word}`, 'a bundle is a folder with a config.json');
  const state = join(root, word);
  if (existsSync(join(state, 'config.json'))) return state;
  const { engine } = await import('./engine/common.js');
  const { store } = await engine();
  return store.folder(store.resolve(word));
}

/** Adds `assess` to the program. */
export function register(program: Command): void {
  program
    .command('assess')
    .description("Assess a container's isolation: weaknesses, recommendations, and a score.")
    .argument('<container|bundle-folder>', 'a container, or a folder with a config.json')
    .option('--root <dir>', "tvmm-oci's state folder", '/run/tvmm-oci')
    .option('--min-score <n>', 'fail (exit status 1) where the score is less')
    .option('--json', 'print the assessment as one JSON object')
    .addHelpText('after', HELP)
    .action(async (word: string, options: { root: string; minScore?: string; json?: boolean }) => {
      const least = Number(options.minScore ?? 0);
      if (!(least >= 0 && least <= 100))
        throw new UsageError(`--min-score ${options.minScore}: a score is 0 to 100`);
      const { assessBundle } = await import('../container/library/bundle.js');
      const result = assessBundle(await folderOf(word, options.root));
      process.stdout.write(
        options.json === true ? `${JSON.stringify(result, undefined, 2)}\n` : formatAssessment(result),
      );
      if (result.score < least) process.exitCode = 1;
    });
}
