/** `tvmm pod`: containers that share a network. */
import type { Command } from 'commander';
import { shortId } from '../../container/engine/names.js';
import type { PodOptions } from '../../container/engine/pods.js';
import { formatPort } from '../../container/network/ports.js';
import { age, collect, each, engine, integerOption, printJson, table } from './common.js';
import { addExists } from './exists.js';
import { type FormatFlags, printFormatted, withFormat } from './format.js';
import { here, printOut } from './here.js';
import { inspectView } from './inspect-view.js';
import { STATS_FIELDS, type StatsFlags, showStats } from './stats.js';
import { parseTemplate } from './template.js';

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
  addExists(pod, 'pod', async (word) => {
    const { findPod } = await import('../../container/engine/pods.js');
    return findPod(await engine(), word);
  });
  pod
    .command('prune')
    .description('remove pods in which nothing runs, with their containers')
    .option('-f, --force', 'as it is anyway: nothing is asked')
    .action(async () => {
      const { listPods, removePod } = await import('../../container/engine/pods.js');
      const context = await engine();
      for (const { pod: one, members } of await listPods(context)) {
        if ([one, ...members].some(({ state }) => state === 'running' || state === 'paused')) continue;
        await removePod(context, one.id, true);
        printOut(`${one.name}\n`);
      }
    });
  registerUse(pod);
  registerSignals(pod);
  registerShow(pod);
}

/** What the containers of a pod say, run and use. */
function registerUse(pod: Command): void {
  pod
    .command('logs')
    .description('show what the containers of a pod have printed, each line behind its container’s name')
    .argument('<pod>', 'name or id')
    .option('-n, --tail <lines>', 'only the last lines of each', integerOption('--tail'))
    .action(async (word: string, { tail }: { tail?: number }) => {
      const context = await engine();
      const [{ findPod, podMembers }, { readLog }] = await Promise.all([
        import('../../container/engine/pods.js'),
        import('../../container/engine/log-lines.js'),
      ]);
      for (const { id, name, options } of podMembers(context, findPod(context, word))) {
        if (options.logDriver === 'none') continue;
        const lines = readLog(
          context.store.folder(id),
          tail === undefined ? {} : { tail: Math.max(0, tail) },
        );
        for await (const { log, stream } of lines) await here().print(stream, `${name} ${log}`);
      }
    });
  pod
    .command('top')
    .description('list the processes of the containers of a pod')
    .argument('<pod>', 'name or id')
    .action(async (word: string) => {
      const context = await engine();
      const [{ findPod, podMembers }, { describeProcesses }] = await Promise.all([
        import('../../container/engine/pods.js'),
        import('../../container/engine/top.js'),
      ]);
      const rows: string[][] = [];
      for (const { id, name, state } of podMembers(context, findPod(context, word))) {
        if (state !== 'running' && state !== 'paused') continue;
        for (const one of describeProcesses(await context.runtime.pids(id))) {
          const command = JSON.stringify(one.command).slice(1, -1);
          rows.push([name, String(one.pid), String(one.containerPid), String(one.uid), one.state, command]);
        }
      }
      printOut(table([['CONTAINER', 'PID', 'INNER', 'UID', 'STATE', 'COMMAND'], ...rows]));
    });
  withFormat(
    pod
      .command('stats')
      .description('show what the containers of a pod use')
      .argument('<pod>', 'name or id')
      .option('--no-stream', 'show it once'),
    STATS_FIELDS,
  ).action(async (word: string, options: StatsFlags) => {
    if (options.stream) here().needOwnProcess();
    const context = await engine();
    const { findPod, podMembers } = await import('../../container/engine/pods.js');
    const record = findPod(context, word);
    await showStats(context, new Set([record, ...podMembers(context, record)].map(({ id }) => id)), options);
  });
}

function registerSignals(pod: Command): void {
  pod
    .command('restart')
    .description('stop pods and start them again')
    .argument('<pod...>', 'names or ids')
    .option('-t, --time <seconds>', 'seconds until SIGKILL', integerOption('--time'))
    .action(async (words: string[], options: { time?: number }) => {
      const { startPod, stopPod } = await import('../../container/engine/pods.js');
      await eachPod(words, async (context, id) => {
        await stopPod(context, id, { timeout: options.time });
        await startPod(context, id);
      });
    });
  pod
    .command('kill')
    .description('send a signal to the containers of pods; SIGKILL by default')
    .argument('<pod...>', 'names or ids')
    .option('-s, --signal <signal>', 'name or number', 'SIGKILL')
    .action(async (words: string[], { signal }: { signal: string }) => {
      const [{ eachMember }, { killContainer }] = await Promise.all([
        import('../../container/engine/pods.js'),
        import('../../container/engine/stop.js'),
      ]);
      await eachPod(words, (context, id) =>
        eachMember(context, id, 'running', (member) => killContainer(context, member.id, signal)),
      );
    });
  for (const pause of [true, false]) {
    pod
      .command(pause ? 'pause' : 'unpause')
      .description(pause ? 'hold the containers of pods' : 'let the containers of pods go on')
      .argument('<pod...>', 'names or ids')
      .action(async (words: string[]) => {
        const [{ eachMember }, { pauseContainer }] = await Promise.all([
          import('../../container/engine/pods.js'),
          import('../../container/engine/change.js'),
        ]);
        await eachPod(words, (context, id) =>
          eachMember(context, id, pause ? 'running' : 'paused', (member) =>
            pauseContainer(context, member.id, pause),
          ),
        );
      });
  }
}

function registerShow(pod: Command): void {
  registerList(pod);
  pod
    .command('inspect')
    .description('show everything about pods, as JSON')
    .argument('<pod...>', 'names or ids')
    .option('-f, --format <format>', 'json, or a template such as {{.State.Status}}')
    .action(async (words: string[], { format = 'json' }: { format?: string }) => {
      const context = await engine();
      const { findPod, podMembers } = await import('../../container/engine/pods.js');
      const fill = format === 'json' ? undefined : parseTemplate(format);
      const found = words.map((word) => {
        const record = findPod(context, word);
        const members = podMembers(context, record);
        return { record, containers: members.map(({ id, name, state }) => ({ id, name, state })) };
      });
      if (fill === undefined) {
        printJson(found.map(({ record, containers }) => ({ ...record, containers })));
        return;
      }
      for (const { record, containers } of found) {
        const view = inspectView(record, context.store.folder(record.id), (name) => name);
        const Containers = containers.map(({ id, name, state }) => ({ Id: id, Name: name, State: state }));
        printOut(`${fill({ ...view, Containers, NumContainers: Containers.length })}\n`);
      }
    });
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
      printOut(`${record.id}\n`);
    });
}

function registerList(pod: Command): void {
  withFormat(pod.command('ls').alias('ps').description('list pods').option('-q, --quiet', 'ids only'), [
    'ID',
    'Name',
    'Status',
    'Created',
    'NumberOfContainers',
    'ContainerNames',
  ]).action(async (options: FormatFlags & { quiet?: boolean }) => {
    const { listPods } = await import('../../container/engine/pods.js');
    const pods = await listPods(await engine());
    const own = () =>
      pods.map(({ pod: { id, name, state, created, ports }, members }) => ({
        id,
        name,
        state,
        created,
        ports,
        containers: members.map((member) => ({ id: member.id, name: member.name, state: member.state })),
      }));
    const rowsOf = () =>
      pods.map(({ pod: one, members }) => ({
        ID: shortId(one.id),
        Id: one.id,
        Name: one.name,
        Status: one.state,
        Created: `${age(one.created)} ago`,
        NumberOfContainers: members.length,
        ContainerNames: members.map(({ name }) => name).join(','),
      }));
    if (printFormatted(options, own, rowsOf)) return;
    if (options.quiet === true) {
      printOut(pods.map((one) => `${shortId(one.pod.id)}\n`).join(''));
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
    printOut(table([['ID', 'NAME', 'STATE', 'CREATED', 'PORTS', 'CONTAINERS'], ...rows]));
  });
}
