/**
 * `top CONTAINER [ps OPTIONS]`, docker's way: ps(1) of the host with these options, of which the lines about the container's processes are kept. The
 * options go to ps as they are, in an argument list of their own; a format without pids gets one, which is taken out again.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { OptionError } from './errors.js';

const MAX_OUTPUT = 64 * 2 ** 20;
const TIMEOUT_MS = 10_000;

/** Lines of ps about these processes, with the title line. Pure. @throws OptionError when there is no column of pids */
export function linesOf(output: string, pids: ReadonlySet<number>): string[] {
  const [title = '', ...lines] = output.split('\n');
  const at = title.trim().split(/\s+/).indexOf('PID');
  if (at < 0)
    throw new OptionError('top', 'the options of ps leave out the pids', 'for instance -o pid,comm');
  return [title, ...lines.filter((line) => pids.has(Number(line.trim().split(/\s+/)[at])))];
}

/** @throws OptionError with what ps has to say */
export async function psLines(options: readonly string[], pids: readonly number[]): Promise<string[]> {
  try {
    const { stdout } = await promisify(execFile)('ps', [...options], {
      maxBuffer: MAX_OUTPUT,
      timeout: TIMEOUT_MS,
    });
    return linesOf(stdout, new Set(pids));
  } catch (error) {
    if (error instanceof OptionError) throw error;
    const said =
      error instanceof Error && 'stderr' in error ? String(error.stderr).trim().split('\n')[0] : '';
    throw new OptionError('top', `ps ${options.join(' ')} fails: ${said === '' ? String(error) : said}`);
  }
}
