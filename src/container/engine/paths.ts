/**
 * Where the engine keeps things. `root` stays over a reboot: records, logs, names; `run` need not: OCI state, networks. Both are the
 * owner's alone.
 *
 *     <root>/containers/<id>/   container.json, config.json (the bundle), log, log.1, minder.sock, stdout, stderr, exit.json, etc/
 *     <root>/volumes/<name>/    volume.json and _data, which containers mount
 *     <root>/plain/<id>/        what containers of plain folders in user namespaces have written
 *     <root>/engine/names/<name>   the id that has the name
 *     <root>/engine/events         the journal
 *     <root>/engine/locks/<id>     held by a command while it changes a container; never held while it waits for one
 */
import { join } from 'node:path';

export interface EnginePaths {
  readonly root: string;
  readonly run: string;
  readonly containers: string;
  readonly names: string;
  readonly events: string;
  readonly locks: string;
  readonly volumes: string;
  /** The OCI runtime's state folder. */
  readonly runtime: string;
  /** What runs for containers that have a network without root. */
  readonly userNetworks: string;
}

/** @param root default: TVMM_ROOT, else /var/lib/tvmm. @param run default: TVMM_RUN, else /run/tvmm */
export function enginePaths(
  root: string = process.env.TVMM_ROOT ?? '/var/lib/tvmm',
  run: string = process.env.TVMM_RUN ?? '/run/tvmm',
): EnginePaths {
  return {
    root,
    run,
    containers: join(root, 'containers'),
    names: join(root, 'engine', 'names'),
    events: join(root, 'engine', 'events'),
    locks: join(root, 'engine', 'locks'),
    volumes: join(root, 'volumes'),
    runtime: join(run, 'engine'),
    userNetworks: join(run, 'user-networks'),
  };
}
