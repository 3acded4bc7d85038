/** `tvmm pod`: containers that share a network. */
import type { Command } from 'commander';
import { shortId } from '../../container/engine/names.js';
import type { PodOptions } from '../../container/engine/pods.js';
import { formatPort } from '../../container/network/ports.js';
import {
  age,
  collect,
  each,
  engine,
  integerOption,
  printJson,
  table,
  wantsJson,
  withJson,
} from './common.js';

const HELP = `
The containers of a pod share its network (localhost, addresses, published ports), host name and System V IPC. A pause process keeps them
while containers come and go.

Examples:
  tvmm pod create --name shop -p 8080:80
  tvmm pod start shop
  tvmm run -d --pod shop --name web nginx
  tvmm run -d --pod shop --name db postgres       reachable for web as localhost:5432
  tvmm pod stop shop && tvmm pod rm -f shop
`;

/** Acts on pods alone, not on any container. */
async function eachPod(words: readonly string[], action: Parameters<typeof each>[1]): Promise<void> {
  const { findPod } = await import('../../container/engine/pods.js');
  await each(words, action, { find: (context, word) => findPod(context, word).id });
}

export function register(program: Command): void {
  const pod = program
    .command('pod')
    .description('Containers that share a network.')
    .usage('COMMAND [options]')
    .addHelpText('after', HELP);
  registerCreate(pod);
  pod
    .command('start')
    .description('start pods with all their containers')
    .argument('<pod...>', 'names or ids')
    .action(async (words: string[]) => {
      const { startPod } = await import('../../container/engine/pods.js');
      await eachPod(words, startPod);
    });
  pod
    .command('stop')
    .description('stop pods with all their containers')
    .argument('<pod...>', 'names or ids')
    .option('-t, --time <seconds>', 'seconds until SIGKILL', integerOption('--time'))
    .action(async (words: string[], options: { time?: number }) => {
      const { stopPod } = await import('../../container/engine/pods.js');
      await eachPod(words, (context, id) => stopPod(context, id, { timeout: options.time }));
    });
  pod
    .command('rm')
    .description('remove pods')
    .argument('<pod...>', 'names or ids')
    .option('-f, --force', 'with their containers, running or not')
    .action(async (words: string[], options: { force?: boolean }) => {
      const { removePod } = await import('../../container/engine/pods.js');
      await eachPod(words, (context, id) => removePod(context, id, options.force === true));
    });
  registerList(pod);
}

function registerCreate(pod: Command): void {
  pod
    .command('create')
    .description('create a pod; it is started with tvmm pod start')
    .option('--name <name>', 'name of the pod (default: two random words)')
    .option('-p, --publish <[ip:][port:]port>', 'publish a port on the host', collect)
    .option('--network <network>', 'none, host, or a network’s name', collect)
    .option('--hostname <name>', 'host name of its containers')
    .option('--dns <ip>', 'DNS server', collect)
    .option('--add-host <name:ip>', 'a line of /etc/hosts', collect)
    .option('--sysctl <name=value>', 'a kernel parameter of its namespaces', collect)
    .option('-l, --label <name=value>', 'attach a label', collect)
    .action(async (flags: PodOptions & { name?: string; debug?: boolean; logLevel?: string }) => {
      const { name, debug: _debug, logLevel: _level, ...options } = flags;
      const { createPod } = await import('../../container/engine/pods.js');
      const record = await createPod(await engine(), name, options);
      process.stdout.write(`${record.id}\n`);
    });
}

function registerList(pod: Command): void {
  withJson(pod.command('ls').alias('ps').description('list pods').option('-q, --quiet', 'ids only')).action(
    async (options: { quiet?: boolean; json?: boolean; format?: string }) => {
      const { listPods } = await import('../../container/engine/pods.js');
      const pods = await listPods(await engine());
      if (wantsJson(options)) {
        return printJson(
          pods.map(({ pod: { id, name, state, created, ports }, members }) => ({
            id,
            name,
            state,
            created,
            ports,
            containers: members.map((member) => ({ id: member.id, name: member.name, state: member.state })),
          })),
        );
      }
      if (options.quiet === true) {
        process.stdout.write(pods.map((one) => `${shortId(one.pod.id)}\n`).join(''));
        return;
      }
      const rows = pods.map(({ pod: one, members }) => [
        shortId(one.id),
        one.name,
        one.state,
        `${age(one.created)} ago`,
        one.ports.map((port) => formatPort({ ...port, hostIp: port.hostIp })).join(', '),
        members.map(({ name }) => name).join(', '),
      ]);
      process.stdout.write(table([['ID', 'NAME', 'STATE', 'CREATED', 'PORTS', 'CONTAINERS'], ...rows]));
    },
  );
}
