/** An engine that kills itself before or after one of the plugins that set up a container: argv is what the test gives, as JSON. */
import { join } from 'node:path';
import { spawnPlugin } from '../../src/container/network/cni-exec.js';
import { parseNetworkMode } from '../../src/container/network/mode.js';
import { Networks } from '../../src/container/network/networks.js';
import { parsePortSpecs } from '../../src/container/network/ports.js';

interface Given {
  readonly folder: string;
  readonly prefix: string;
  readonly containerId: string;
  readonly netns: string;
  /** 2n: before the n-th plugin, 2n + 1: after it. */
  readonly step: number;
}

const { folder, prefix, containerId, netns, step }: Given = JSON.parse(process.argv[2] ?? '');
let now = 0;
const networks = new Networks({
  stateFolder: join(folder, 'state'),
  netnsFolder: join(folder, 'netns'),
  definitionFolder: join(folder, 'definitions'),
  cniPath: ['/opt/cni/bin', '/usr/lib/cni'],
  table: prefix,
  bridgePrefix: prefix,
  run: async (call) => {
    if (now === step) process.kill(process.pid, 'SIGKILL');
    now += 1;
    const outcome = await spawnPlugin(call);
    if (now === step) process.kill(process.pid, 'SIGKILL');
    now += 1;
    return outcome;
  },
});
await networks.setUp({ containerId, netns, mode: parseNetworkMode([]), ports: parsePortSpecs(['80']) });
