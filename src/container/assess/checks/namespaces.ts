/** Checks of the namespaces (namespaces(7); OCI config-linux.md, "Namespaces") and of who a container's ids are. */
import type { NamespaceType } from '../../spec/namespaces.js';
import type { Check } from '../check.js';

/** Those that separate containers from each other; the user namespace is judged by its mapping. */
const SEPARATING: readonly NamespaceType[] = ['pid', 'network', 'ipc', 'uts', 'cgroup', 'mount'];

export const NAMESPACE_CHECKS: readonly Check[] = [
  {
    id: 'host-mount-namespace',
    severity: 'critical',
    title: "the host's mounts are the container's",
    why: "Every file of the host is within reach, and mounts that are made or undone are the host's.",
    recommendation: 'add a namespace of type mount',
    found: ({ namespaces }) => namespaces.mount === 'host',
  },
  {
    id: 'host-pid-namespace',
    severity: 'high',
    title: "the container sees the host's processes",
    why: "It can read other processes' command lines and, as root, signal them and reach their files through /proc/PID/root.",
    recommendation: 'add a namespace of type pid',
    option: 'no --pid host',
    found: ({ namespaces }) => namespaces.pid === 'host',
  },
  {
    id: 'host-network-namespace',
    severity: 'high',
    title: "the container uses the host's network",
    why: 'Services on the loopback address and abstract Unix sockets of the host, those of container engines among them, answer it.',
    recommendation: 'add a namespace of type network, and publish ports instead',
    option: 'no --network host; -p HOST:PORT',
    found: ({ namespaces }) => namespaces.network === 'host',
  },
  {
    id: 'host-ipc-namespace',
    severity: 'medium',
    title: "the container shares the host's System V and POSIX IPC",
    why: 'It can read and write shared memory, semaphores and message queues of other programs.',
    recommendation: 'add a namespace of type ipc',
    option: 'no --ipc host',
    found: ({ namespaces }) => namespaces.ipc === 'host',
  },
  {
    id: 'host-uts-namespace',
    severity: 'low',
    title: "the container shares the host's name",
    why: "With CAP_SYS_ADMIN it can rename the host; it learns the host's name in any case.",
    recommendation: 'add a namespace of type uts',
    option: 'no --uts host',
    found: ({ namespaces }) => namespaces.uts === 'host',
  },
  {
    id: 'host-cgroup-namespace',
    severity: 'low',
    title: "the container sees the host's tree of cgroups",
    why: 'Names of other containers show in /proc/self/cgroup and below /sys/fs/cgroup.',
    recommendation: 'add a namespace of type cgroup',
    option: 'no --cgroupns host',
    found: ({ namespaces }) => namespaces.cgroup === 'host',
  },
  {
    id: 'shared-namespaces',
    severity: 'low',
    title: 'namespaces are shared with other containers',
    why: 'What these separate is not separated between the containers that share them: they are as weak as the weakest.',
    recommendation: 'share namespaces only between parts of one service',
    found: ({ namespaces }) => SEPARATING.filter((type) => namespaces[type] === 'joined'),
  },
  {
    id: 'root-is-host-root',
    severity: 'medium',
    title: "the container's root is the host's root",
    why: 'Whatever gets out, by a hole in the kernel or a file shared by mistake, is root at once.',
    recommendation: 'use a user namespace with ids of its own, a rootless engine, or a user other than 0',
    option: '--userns private, or --user 1000:1000',
    found: ({ root, ownIds }) => root && !ownIds,
  },
  {
    id: 'no-user-namespace',
    severity: 'low',
    title: "the container's users are the host's users",
    why: 'The user of the same number on the host owns its files and processes, and root is one set-user-ID program away.',
    recommendation: 'use a user namespace with ids of its own',
    option: '--userns private',
    found: ({ root, ownIds, mapsHostRoot }) => !root && !ownIds && !mapsHostRoot,
  },
  {
    id: 'user-namespace-maps-host-root',
    severity: 'medium',
    title: "the user namespace maps the host's user 0",
    why: "It separates capabilities, but files of the host's root are the container's to write.",
    recommendation: 'map ids of the host that belong to nobody else',
    found: ({ mapsHostRoot }) => mapsHostRoot,
  },
  {
    id: 'root-group',
    severity: 'low',
    title: 'a user other than root is in group 0',
    why: "Files that the host's group 0 may write are the container's to write.",
    recommendation: 'give process.user a group of its own',
    option: '--user USER:GROUP',
    found: ({ spec, root, ownIds }) => {
      const user = spec.process?.user;
      return !root && !ownIds && user !== undefined && [user.gid, ...(user.additionalGids ?? [])].includes(0);
    },
  },
];
