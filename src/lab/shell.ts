/**
 * Turns an argument vector, an environment and a folder into a POSIX shell script that executes exactly that. Refuses what
 * no process can have: NUL bytes, environment names with `=`.
 */
import { LabJobError } from './errors.js';

/** One shell word that stands for exactly `text`. */
export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** What a process in L1 gets. */
export interface JobCommand {
  readonly argv: readonly string[];
  /** Absolute, as seen in L1. */
  readonly cwd: string;
  /** The whole environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
}

/**
 * The script of a job. It becomes the command (`exec`), so that its process id is the command's; `env` is called by its path, since
 * the shell that runs this prefers applets of its own. Status 126 and 127 come from env, as shells have them. A shell's background
 * commands ignore SIGINT and SIGQUIT and cannot undo it: env does (coreutils 8.31).
 */
export function jobScript(command: JobCommand): string {
  if (command.argv.length === 0) {
    throw new LabJobError('the lab was given no command to run', { code: 'LAB_NO_COMMAND' });
  }
  const words = [command.cwd, ...command.argv, ...Object.values(command.env)];
  if (words.some((word) => word.includes('\0'))) {
    throw new LabJobError('a command, its folder and its environment cannot contain NUL bytes', {
      code: 'LAB_BAD_COMMAND',
    });
  }
  const assignments = Object.entries(command.env).map(([name, value]) => {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      throw new LabJobError(`${JSON.stringify(name)} is not the name of an environment variable`, {
        code: 'LAB_BAD_COMMAND',
      });
    }
    return shellQuote(`${name}=${value}`);
  });
  return [
    `cd ${shellQuote(command.cwd)} || exit 125`,
    ['exec /usr/bin/env -i --default-signal=INT,QUIT', ...assignments, ...command.argv.map(shellQuote)].join(
      ' ',
    ),
    '',
  ].join('\n');
}

const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** The command is root in L1, whoever the caller is: the administrator's folders follow the caller's own. */
function withSystemFolders(path = ''): string {
  const folders = path.split(':').filter((folder) => folder !== '');
  return [...folders, ...SYSTEM_FOLDERS.filter((folder) => !folders.includes(folder))].join(':');
}

/**
 * The environment that a command in the lab gets from its caller's: a short list, since proxies, certificates and
 * loader variables of the host mean nothing in a machine without a network. `TVMM_LAB` says that this is the lab.
 */
export function labEnvironment(host: NodeJS.ProcessEnv): Record<string, string> {
  const env: Record<string, string> = {
    PATH: withSystemFolders(host.PATH),
    HOME: host.HOME ?? '/root',
    LANG: host.LANG ?? 'C.UTF-8',
  };
  if (host.TERM !== undefined) env.TERM = host.TERM;
  for (const [name, value] of Object.entries(host)) {
    if (name.startsWith('TVMM_') && /^[A-Z0-9_]+$/.test(name) && value !== undefined) env[name] = value;
  }
  env.TVMM_LAB = '1';
  return env;
}
