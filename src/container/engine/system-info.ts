/** `system info`: what the engine has and what it stands on, with docker's names. */
import { readFileSync } from 'node:fs';
import { arch, cpus, hostname, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../sys/package-root.js';
import { readLayout } from '../cgroup/layout.js';
import type { EngineContext } from './context.js';
import type { ContainerRecord } from './record.js';
import { rootlessFacts } from './rootless.js';
import { current } from './wait.js';

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

/** Name of the distribution (os-release(5)). */
function system(): string {
  try {
    const line = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(readFileSync('/etc/os-release', 'utf8'));
    return line?.[1] ?? 'Linux';
  } catch {
    return 'Linux';
  }
}

export async function systemInfo(context: EngineContext) {
  const records: ContainerRecord[] = [];
  for (const { id } of context.store.all()) {
    const record = await current(context, id);
    if (record !== undefined && !record.options.pause) records.push(record);
  }
  const count = (...states: readonly string[]) =>
    records.filter(({ state }) => states.includes(state)).length;
  const [{ ImageStore }, { canOverlay }] = await Promise.all([
    import('../image/store.js'),
    import('../image/overlay-support.js'),
  ]);
  const store = ImageStore.open(context.paths.root);
  const rootless = rootlessFacts();
  return {
    Name: hostname(),
    ServerVersion: version(),
    Containers: records.length,
    ContainersRunning: count('running'),
    ContainersPaused: count('paused'),
    ContainersStopped: count('created', 'stopped'),
    Images: (await store.records()).length,
    Driver: (await canOverlay(store)) ? 'overlay' : 'copy',
    LoggingDriver: 'json-file',
    DefaultRuntime: 'tvmm',
    CgroupDriver: 'cgroupfs',
    CgroupVersion: readLayout().v1.size === 0 ? '2' : '1',
    SecurityOptions: ['name=seccomp,profile=default', ...(rootless === undefined ? [] : ['name=rootless'])],
    KernelVersion: release(),
    OperatingSystem: system(),
    OSType: 'linux',
    Architecture: arch(),
    NCPU: cpus().length,
    MemTotal: totalmem(),
    DockerRootDir: context.paths.root,
    RunRoot: context.paths.run,
  };
}
