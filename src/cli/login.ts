/** `tvmm login` and `tvmm logout`: registries' passwords, checked and kept where docker's tools keep them. */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import type { ReadStream } from 'node:tty';
import { type Command, Option } from 'commander';
import { UsageError } from './usage-error.js';

const HELP = `
Without REGISTRY it is docker.io. The password is kept as docker keeps it, readable for those who can read ~/.docker/config.json (or the file
that REGISTRY_AUTH_FILE names), unless that file names a credential helper.

Examples:
  tvmm login registry.example:5000
  tvmm login -u me --password-stdin registry.example < token
  tvmm logout registry.example
`;

interface LoginFlags {
  readonly username?: string;
  readonly password?: string;
  readonly passwordStdin?: boolean;
  readonly tlsVerify: string;
}

const MAX_PASSWORD = 65536;

/** `https://registry.example/v2/` is `registry.example`. @throws ImageNameError */
async function registryOf(word: string | undefined): Promise<string> {
  const { parseReference } = await import('../container/image/index.js');
  const host = (word ?? 'docker.io').replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  if (host === 'docker.io') return host;
  const { registry } = parseReference(`${host}/x`);
  if (registry !== host && host !== 'index.docker.io')
    throw new UsageError(`${host} is no registry`, 'name its host, and its port where it has one');
  return registry;
}

async function ask(question: string): Promise<string> {
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return (await reader.question(question)).trim();
  } finally {
    reader.close();
  }
}

/** Reads a line without showing it. */
async function askSecretly(question: string, terminal: ReadStream): Promise<string> {
  process.stderr.write(question);
  terminal.setRawMode(true);
  let secret = '';
  try {
    for await (const chunk of terminal) {
      for (const character of String(chunk)) {
        if (character === '\r' || character === '\n') return secret;
        if (character === '\u0003' || character === '\u0004') throw new UsageError('there is no password');
        secret = character === '\u007f' ? secret.slice(0, -1) : `${secret}${character}`;
      }
    }
    return secret;
  } finally {
    terminal.setRawMode(false);
    process.stderr.write('\n');
  }
}

/** @throws UsageError */
async function passwordOf(flags: LoginFlags): Promise<string> {
  if (flags.passwordStdin === true) {
    if (flags.password !== undefined)
      throw new UsageError('--password and --password-stdin exclude each other');
    if (flags.username === undefined) throw new UsageError('--password-stdin needs --username');
    return readFileSync(0, 'utf8')
      .slice(0, MAX_PASSWORD)
      .replace(/\r?\n$/, '');
  }
  if (flags.password !== undefined) return flags.password;
  if (!process.stdin.isTTY)
    throw new UsageError('there is no password', 'send it with --password-stdin, or type it at a terminal');
  return askSecretly('Password: ', process.stdin);
}

async function login(word: string | undefined, flags: LoginFlags): Promise<void> {
  const registry = await registryOf(word);
  if (flags.username === undefined && !process.stdin.isTTY && flags.passwordStdin !== true)
    throw new UsageError('there is no user name', 'give it with --username');
  const username =
    flags.username ??
    (flags.passwordStdin === true ? undefined : await ask(`User name for ${registry}: `)) ??
    '';
  const password = await passwordOf(flags);
  if (username === '' || username.includes(':') || password === '')
    throw new UsageError('a user name (without a colon) and a password are needed');
  const { RegistryClient, saveLogin } = await import('../container/image/index.js');
  using client = new RegistryClient(
    { registry, repository: '' },
    {
      access: 'login',
      credentials: { kind: 'password', username, password },
      tlsVerify: flags.tlsVerify !== 'false',
    },
  );
  await client.login();
  const where = await saveLogin(registry, { username, password });
  process.stderr.write(`tvmm: the password is in ${where}\n`);
  process.stdout.write('Login Succeeded\n');
}

export function register(program: Command): void {
  program
    .command('login')
    .description('Check a user name and password with a registry, and keep them.')
    .argument('[registry]', 'its host, and port where it has one')
    .option('-u, --username <name>', 'user name')
    .option('-p, --password <password>', 'password; others can see it in the list of processes')
    .option('--password-stdin', 'take the password from stdin')
    .addOption(
      new Option('--tls-verify <bool>', 'false takes any certificate, and plain http')
        .choices(['true', 'false'])
        .default('true'),
    )
    .addHelpText('after', HELP)
    .action(login);
}
