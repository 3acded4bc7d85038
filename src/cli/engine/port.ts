/** `tvmm port`: the published ports of a container. */
import type { Command } from 'commander';
import { UsageError } from '../usage-error.js';
import { engine } from './common.js';
import { printOut } from './here.js';

const HELP = `
Examples:
  tvmm port web                80/tcp -> 0.0.0.0:8080
  tvmm port web 80             0.0.0.0:8080
`;

export function register(program: Command): void {
  program
    .command('port')
    .description('Show the published ports of a container.')
    .argument('<container>', 'name or id')
    .argument('[port]', 'only this port of the container, for instance 80 or 53/udp')
    .addHelpText('after', HELP)
    .action(async (word: string, wanted: string | undefined) => {
      const context = await engine();
      const { current } = await import('../../container/engine/wait.js');
      const record = await current(context, context.store.resolve(word));
      const ports = (record?.ports ?? []).map((port) => {
        const ip = port.hostIp ?? '0.0.0.0';
        return {
          name: `${port.containerPort}/${port.protocol}`,
          host: `${ip.includes(':') ? `[${ip}]` : ip}:${port.hostPort}`,
        };
      });
      if (wanted === undefined) {
        printOut(ports.map(({ name, host }) => `${name} -> ${host}\n`).join(''));
        return;
      }
      const found = ports.filter(({ name }) => name === (wanted.includes('/') ? wanted : `${wanted}/tcp`));
      if (found.length === 0)
        throw new UsageError(
          `container ${word} publishes no port ${wanted}`,
          record?.state === 'running' ? undefined : 'it does not run',
        );
      printOut(found.map(({ host }) => `${host}\n`).join(''));
    });
}
