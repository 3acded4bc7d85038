/**
 * Runs the distribution's tools (apt-get, dpkg-deb, mkfs.ext4, make) for the guest builder. A tool that is missing or
 * fails becomes a {@link CommandError} that names it and carries the end of what it said. Nothing goes through a shell.
 */
import { spawn } from 'node:child_process';
import { TvmmError } from '../sys/errors.js';

/** A tool of the host that could not be started, or that failed. */
export class CommandError extends TvmmError {
  readonly command: string;
  /** Exit status; undefined when the tool never ran or was killed. */
  readonly status: number | undefined;

  constructor(
    command: string,
    message: string,
    options: { code: string; hint?: string; status?: number; cause?: unknown },
  ) {
    super(message, options);
    this.command = command;
    this.status = options.status;
  }
}

/** Options of {@link runCommand}. */
export interface CommandOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Bytes for the command's stdin; it reads end-of-file at once without them. */
  input?: Uint8Array;
  /** Called with each line the command writes to stdout or stderr, as it comes. */
  onLine?: (line: string) => void;
  /** Kill the command when its stdout grows beyond this many bytes. */
  maxOutput?: number;
  /** What to do when the command does not exist. */
  missingHint?: string;
}

const STDERR_KEPT = 4096;

/** The Debian package of each tool, for the hint when it is missing. */
const PACKAGE_OF: Readonly<Record<string, string>> = {
  'apt-get': 'apt',
  'apt-cache': 'apt',
  'dpkg-deb': 'dpkg',
  flock: 'util-linux',
  xz: 'xz-utils',
  zstd: 'zstd',
  'mkfs.ext4': 'e2fsprogs',
  tar: 'tar',
  make: 'make',
};

/** Runs a command to its end and returns its stdout as bytes. Throws {@link CommandError}. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: {
        ...process.env,
        LC_ALL: 'C.UTF-8',
        PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`,
        ...options.env,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const stdout: Buffer[] = [];
    let stderr = '';
    child.on('error', (cause: NodeJS.ErrnoException) => {
      const missing = cause.code === 'ENOENT';
      const owner = PACKAGE_OF[command];
      const install = owner === undefined ? undefined : `install it with: apt-get install ${owner}`;
      reject(
        new CommandError(
          command,
          missing ? `the command ${command} is not installed` : `${command} cannot be started`,
          {
            code: missing ? 'COMMAND_MISSING' : 'COMMAND_FAILED',
            hint: missing ? (options.missingHint ?? install) : undefined,
            cause,
          },
        ),
      );
    });
    // A tool that fails early closes its stdin; its exit status says why, not our EPIPE.
    child.stdin.on('error', () => {});
    child.stdin.end(options.input);
    let length = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length > (options.maxOutput ?? Number.POSITIVE_INFINITY)) child.kill('SIGKILL');
      else stdout.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr = (stderr + chunk.toString('utf8')).slice(-STDERR_KEPT);
    });
    if (options.onLine !== undefined) {
      eachLine(child.stdout, options.onLine);
      eachLine(child.stderr, options.onLine);
    }
    child.on('close', (status, signal) => {
      if (status === 0) return resolve(Buffer.concat(stdout));
      const said = stderr.trim();
      const why = signal === null ? `exit status ${status}` : `killed by ${signal}`;
      reject(
        new CommandError(
          command,
          `${command} ${args.slice(0, 2).join(' ')} failed (${why})${said === '' ? '' : `: ${said}`}`,
          {
            code: 'COMMAND_FAILED',
            status: status ?? undefined,
          },
        ),
      );
    });
  });
}

function eachLine(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  });
}
