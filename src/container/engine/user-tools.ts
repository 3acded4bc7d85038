/** Which program can give a container a network without root: looked up before any container is made. */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { USER_NETWORKS, type UserNetwork } from '../network/mode.js';

export interface UserTool {
  readonly kind: UserNetwork;
  readonly path: string;
}

export const USER_NETWORK_HINT =
  'Install passt (Debian package passt) or slirp4netns, or use --network none or host.';

const FOLDERS = ['/usr/local/bin', '/usr/bin', '/bin'];

/** All that are installed, the best first. */
export function findUserTools(path = process.env.PATH ?? ''): UserTool[] {
  const folders = [...path.split(delimiter), ...FOLDERS].filter((one) => one.startsWith('/'));
  return USER_NETWORKS.flatMap((kind) => {
    const file = folders.map((folder) => join(folder, kind)).find((one) => existsSync(one));
    return file === undefined ? [] : [{ kind, path: file }];
  });
}

/** Keeps the network namespace of a container whose packets a program passes on: there is such a program as long as it is there. */
export function userNetworkFile(folder: string, containerId: string): string {
  return join(folder, `${containerId}.netns`);
}
