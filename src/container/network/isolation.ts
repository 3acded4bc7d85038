/**
 * What containers on tvmm's bridges may not reach, as a table of nftables (nft(8)) that is ours alone: CNI has no word for it. Networks do
 * not reach each other but by published ports; on an isolated one containers do not reach each other at all (a published port is for the
 * others: with br_netfilter its frames would go straight from port to port), and an internal one has no way out. The table drops, and never lets through what another table drops. Frames between two ports of one bridge do not pass it:
 * those are stopped at the bridge (isolatePort).
 */

import { plainText } from './cni-result.js';
import type { NetworkDefinition } from './definition.js';
import { NetworkError } from './errors.js';

const NFT_TIMEOUT_MS = 30_000;

/** Whether the networks in use need any rule. One network that is open needs none. */
export function needsRules(networks: readonly NetworkDefinition[]): boolean {
  return networks.length > 1 || networks.some(({ isolate, internal }) => isolate || internal);
}

/** The whole table for the networks in use (none removes it), in a form that replaces the last one in one step. */
export function ruleset(table: string, networks: readonly NetworkDefinition[]): string {
  const remove = [`table inet ${table}`, `delete table inet ${table}`];
  if (!needsRules(networks)) return `${remove.join('\n')}\n`;
  const bridges = networks.map(({ bridge }) => `"${bridge}"`).join(', ');
  const apart = networks
    .filter(({ isolate }) => isolate)
    .map(({ bridge }) => `iifname "${bridge}" oifname "${bridge}" drop`);
  const rules = networks.flatMap(({ bridge, internal }) => [
    ...(networks.length > 1
      ? [`iifname { ${bridges} } iifname != "${bridge}" oifname "${bridge}" drop`]
      : []),
    ...(internal
      ? [`iifname "${bridge}" oifname != "${bridge}" drop`, `oifname "${bridge}" iifname != "${bridge}" drop`]
      : []),
  ]);
  return [
    ...remove,
    `table inet ${table} {`,
    '  chain forward {',
    // Before the filter tables of others, whose accept is not final for a chain of ours.
    '    type filter hook forward priority filter - 5; policy accept;',
    ...apart.map((rule) => `    ${rule}`),
    '    ct status dnat accept',
    '    ct state established,related accept',
    ...rules.map((rule) => `    ${rule}`),
    '  }',
    '}',
    '',
  ].join('\n');
}

/** Gives text to a program's stdin and waits for its end. @throws NetworkError */
export async function feed(
  command: string,
  args: readonly string[],
  input: string,
  hint: string,
): Promise<string> {
  const { execFile } = await import('node:child_process');
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;
  return new Promise((resolve, reject) => {
    const options = {
      timeout: NFT_TIMEOUT_MS,
      maxBuffer: 64 << 20,
      env: { ...process.env, PATH: path, LC_ALL: 'C' },
    };
    const child = execFile(command, [...args], options, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const words = plainText(stderr === '' ? error.message : stderr);
      reject(
        new NetworkError(`${command} ${args.join(' ')} failed: ${words}`, {
          code: 'FIREWALL_FAILED',
          hint,
          cause: error,
        }),
      );
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}

/** Puts the rules for the networks in use into the kernel. @throws NetworkError where nft is missing or fails */
export async function applyRules(table: string, networks: readonly NetworkDefinition[]): Promise<void> {
  await feed(
    'nft',
    ['-f', '-'],
    ruleset(table, networks),
    'isolation between containers and networks needs nftables (Debian: apt-get install nftables)',
  );
}
