/**
 * Finds and runs a CNI plugin (CNI specification 1.1.0, section 2): JSON on its stdin, parameters in its environment, an answer on its stdout.
 * A plugin gets a time limit and a bound on what it may say, and is ended with its whole process group when it goes beyond them.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { parseFailure, plainText } from './cni-result.js';
import { CniPluginError } from './errors.js';
import { parseJson, type Refuse } from './json.js';

/** Where distributions and the plugins' own archives put them. */
const DEFAULT_CNI_PATH: readonly string[] = ['/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni'];
/** Plugins run iptables, which is seldom in the path of a service. */
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/usr/bin', '/bin'];
const MAX_STDOUT = 1 << 20;
const MAX_STDERR = 1 << 16;

export type CniCommand = 'ADD' | 'CHECK' | 'DEL' | 'GC' | 'STATUS' | 'VERSION';

/** One run of a plugin. */
export interface PluginCall {
  readonly command: CniCommand;
  /** Name of the plugin: its `type`. */
  readonly type: string;
  readonly file: string;
  /** `CNI_*` variables besides the command and the path. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly path: readonly string[];
  readonly input: string;
  readonly timeoutMs: number;
}

/** How a plugin ended and what it said. */
export interface PluginOutcome {
  readonly status: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
  readonly stopped: 'timeout' | 'output' | undefined;
}

/** Runs a program; replaced in tests. */
export type PluginRun = (call: PluginCall) => Promise<PluginOutcome>;

/** The folders of `CNI_PATH`, or the usual ones. Relative ones are passed over. */
export function cniPath(environment: Readonly<Record<string, string | undefined>>): readonly string[] {
  const folders = (environment.CNI_PATH ?? '').split(delimiter).filter((folder) => folder.startsWith('/'));
  return folders.length > 0 ? folders : DEFAULT_CNI_PATH;
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** The file of a plugin; undefined where there is none. */
export function lookUpPlugin(type: string, path: readonly string[]): string | undefined {
  return path.map((folder) => join(folder, type)).find(isProgram);
}

/** The file of a plugin. @throws CniPluginError that says what to install */
export function findPlugin(type: string, path: readonly string[], network: string): string {
  const file = lookUpPlugin(type, path);
  if (file !== undefined) return file;
  throw new CniPluginError(
    `the network ${network} needs the CNI plugin ${type}, which is not in ${path.join(', ')}`,
    {
      code: 'CNI_PLUGIN_MISSING',
      hint: 'install it (Debian: apt-get install containernetworking-plugins), or name its folder in CNI_PATH',
    },
  );
}

/** What a plugin sees: the caller's environment without Node's own settings and without another run's CNI parameters. */
export function pluginEnvironment(
  call: Pick<PluginCall, 'command' | 'parameters' | 'path'>,
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const kept = Object.entries(environment).flatMap(([name, value]) =>
    value === undefined || /^(CNI|NODE)_/.test(name) ? [] : [[name, value] as const],
  );
  const folders = (environment.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return {
    ...Object.fromEntries(kept),
    PATH: [...folders, ...SYSTEM_PATH.filter((folder) => !folders.includes(folder))].join(delimiter),
    ...call.parameters,
    CNI_COMMAND: call.command,
    CNI_PATH: call.path.join(delimiter),
  };
}

/** Runs a plugin as a process of its own. */
export const spawnPlugin: PluginRun = (call) => spawnWith(call, process.env);

/** As {@link spawnPlugin} does, with another caller's variables. */
export function pluginRunner(environment: Readonly<Record<string, string | undefined>>): PluginRun {
  return (call) => spawnWith(call, environment);
}

async function spawnWith(
  call: PluginCall,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<PluginOutcome> {
  // Not at the top: most commands run no plugin.
  const { spawn } = await import('node:child_process');
  return new Promise((resolve, reject) => {
    const child = spawn(call.file, [], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: pluginEnvironment(call, environment),
      cwd: '/',
      // A group of its own, so that what the plugin starts ends with it.
      detached: true,
    });
    const said = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let heard = 0;
    let complained = 0;
    let stopped: PluginOutcome['stopped'];
    const stop = (why: 'timeout' | 'output') => {
      stopped ??= why;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
      // A grandchild outside the group may hold the pipes open.
      child.stdout.destroy();
      child.stderr.destroy();
    };
    const timer = setTimeout(() => stop('timeout'), call.timeoutMs);
    child.stdout.on('data', (chunk: Buffer) => {
      heard += chunk.length;
      if (heard > MAX_STDOUT) stop('output');
      else said.stdout.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (complained < MAX_STDERR) said.stderr.push(chunk.subarray(0, MAX_STDERR - complained));
      complained += chunk.length;
    });
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (status, signal) => {
      clearTimeout(timer);
      resolve({
        status: status ?? undefined,
        signal: signal ?? undefined,
        stdout: Buffer.concat(said.stdout).toString('utf8'),
        stderr: Buffer.concat(said.stderr).toString('utf8'),
        stopped,
      });
    });
    // A plugin that does not read its input closes the pipe: its exit status says what is wrong.
    child.stdin.on('error', () => undefined);
    child.stdin.end(call.input);
  });
}

/** `the CNI plugin bridge (ADD)` */
function subject(call: PluginCall): string {
  return `the CNI plugin ${call.type} (${call.command})`;
}

function failure(
  call: PluginCall,
  what: string,
  code: string,
  outcome?: PluginOutcome,
  cause?: unknown,
): CniPluginError {
  const complaint = plainText(outcome?.stderr ?? '');
  return new CniPluginError(
    `${subject(call)} ${plainText(what)}${complaint === '' ? '' : `; it wrote: ${complaint}`}`,
    {
      code,
      hint: `the plugin is ${call.file}`,
      cause,
    },
  );
}

/** Failures that a caller may treat in a way of their own, by the specification's numbers. */
const FAILURE_CODES: Readonly<Record<number, string>> = { 3: 'CNI_CONTAINER_UNKNOWN', 11: 'CNI_TRY_AGAIN' };

/** How to refuse a plugin's answer. */
export function refuseAnswer(call: PluginCall): Refuse {
  return (pointer, problem) =>
    failure(
      call,
      `answered what is no result: ${pointer === '' ? 'it' : pointer} ${problem}`,
      'CNI_PLUGIN_ANSWER',
    );
}

/**
 * Runs a plugin and gives the JSON that it answered, or undefined for an empty answer.
 *
 * @throws CniPluginError whose `code` is CNI_PLUGIN_TIMEOUT, CNI_PLUGIN_OUTPUT, CNI_PLUGIN_ANSWER, CNI_PLUGIN_START,
 *   CNI_PLUGIN_FAILED, CNI_CONTAINER_UNKNOWN or CNI_TRY_AGAIN
 */
export async function callPlugin(run: PluginRun, call: PluginCall): Promise<unknown> {
  let outcome: PluginOutcome;
  try {
    outcome = await run(call);
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw failure(call, `could not be started: ${reason}`, 'CNI_PLUGIN_START', undefined, error);
  }
  if (outcome.stopped === 'timeout') {
    throw failure(call, `did not end within ${call.timeoutMs / 1000} s`, 'CNI_PLUGIN_TIMEOUT', outcome);
  }
  if (outcome.stopped === 'output') {
    throw failure(call, `wrote more than ${MAX_STDOUT} bytes`, 'CNI_PLUGIN_OUTPUT', outcome);
  }
  const text = outcome.stdout.trim();
  if (outcome.status === 0) return text === '' ? undefined : parseJson(text, refuseAnswer(call));
  let said: ReturnType<typeof parseFailure>;
  try {
    said = parseFailure(parseJson(text, refuseAnswer(call)));
  } catch {
    // What it said is no JSON: its status and stderr are all there is.
  }
  if (said !== undefined) {
    throw failure(call, `failed: ${said.message}`, FAILURE_CODES[said.code] ?? 'CNI_PLUGIN_FAILED');
  }
  const how = outcome.signal === undefined ? `exit status ${outcome.status}` : outcome.signal;
  const words = text === '' ? '' : `, saying ${plainText(text)}`;
  throw failure(call, `ended with ${how}${words}`, 'CNI_PLUGIN_FAILED', outcome);
}
