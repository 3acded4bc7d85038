/** checkpoint and restore. */
import { resolve } from 'node:path';
import type { CheckpointOptions, CriuSettings } from '../container/runtime/checkpoint.js';
import { CGROUP_MODES, type CgroupMode } from '../container/runtime/criu/request.js';
import type { RestoreOptions } from '../container/runtime/restore.js';
import type { OciAction, OciCall } from './oci.js';
import { UsageError } from './usage-error.js';

function settings({ values, global, surroundings: { cwd } }: OciCall): CriuSettings {
  const images = resolve(cwd, values.words('image-path') ?? 'checkpoint');
  if (values.flag('lazy-pages'))
    throw new UsageError(
      '--lazy-pages is not supported: pages are always restored before the container runs',
    );
  const emptied = values.list('empty-ns');
  const other = emptied.find((name) => name !== 'network');
  if (other !== undefined)
    throw new UsageError(`namespace ${JSON.stringify(other)} is not supported by --empty-ns`);
  return {
    program: global.words('criu') ?? 'criu',
    images,
    work: resolve(cwd, values.words('work-path') ?? images),
    cgroupMode: cgroupMode(values.words('manage-cgroups-mode')),
    emptyNetwork: emptied.length > 0,
    switches: {
      tcpEstablished: values.flag('tcp-established'),
      extUnixSk: values.flag('ext-unix-sk'),
      shellJob: values.flag('shell-job'),
      fileLocks: values.flag('file-locks'),
      autoDedup: values.flag('auto-dedup'),
    },
  };
}

function cgroupMode(name: string | undefined): CgroupMode {
  if (name === undefined) return 'default';
  const modes = Object.keys(CGROUP_MODES).filter((mode): mode is CgroupMode => mode in CGROUP_MODES);
  const found = modes.find((mode) => mode === name && mode !== 'default');
  if (found === undefined) throw new UsageError(`invalid manage-cgroups-mode value ${JSON.stringify(name)}`);
  return found;
}

function checkpointOptions(call: OciCall): CheckpointOptions {
  const { values } = call;
  const parent = values.words('parent-path');
  if (parent?.startsWith('/') === true) throw new UsageError('--parent-path must be relative');
  const given = values.words('page-server');
  const [, address, port] = /^(.+):([0-9]{1,5})$/.exec(given ?? '') ?? [];
  if (given !== undefined && (address === undefined || port === undefined))
    throw new UsageError('Use --page-server ADDRESS:PORT to specify page server');
  const common = settings(call);
  return {
    ...common,
    leaveRunning: values.flag('leave-running'),
    preDump: values.flag('pre-dump'),
    switches: {
      ...common.switches,
      tcpSkipInFlight: values.flag('tcp-skip-in-flight'),
      linkRemap: values.flag('link-remap'),
    },
    ...(parent === undefined ? {} : { parent }),
    ...(address === undefined || port === undefined ? {} : { pageServer: { address, port: Number(port) } }),
  };
}

function restoreOptions(call: OciCall): RestoreOptions {
  const {
    values,
    surroundings: { cwd },
  } = call;
  const consoleSocket = values.words('console-socket');
  const pidFile = values.words('pid-file');
  const lsmProfile = values.words('lsm-profile');
  const lsmMountContext = values.words('lsm-mount-context');
  return {
    ...settings(call),
    bundle: resolve(cwd, values.words('bundle') ?? '.'),
    detach: values.flag('detach'),
    ...(consoleSocket === undefined ? {} : { consoleSocket }),
    ...(pidFile === undefined ? {} : { pidFile: resolve(cwd, pidFile) }),
    ...(lsmProfile === undefined ? {} : { lsmProfile }),
    ...(lsmMountContext === undefined ? {} : { lsmMountContext }),
  };
}

export function checkpointOrRestore(name: string): OciAction {
  if (name === 'restore') return (call) => call.runtime.restore(call.id, restoreOptions(call));
  return async (call) => {
    await call.runtime.checkpoint(call.id, checkpointOptions(call));
    return 0;
  };
}
