/**
 * What the processes of a launch and the engine say to each other: the tags of send and receive steps. Whoever runs a plan from create.ts or
 * exec.ts answers these; the sentences say what must have happened before the answer.
 */

/** Between the launch and the engine. */
export const TAG = {
  /**
   * From `launcher`, value: the pid of the process that has the new user namespace, as the engine sees it. The engine writes its uid_map
   * and gid_map (newuidmap(1), newgidmap(1)) and answers with the same tag. Only where `idMaps` is `engine`.
   */
  idMaps: 1,
  /** From `launcher`, value: the pid of the container's first process, as the engine sees it. No answer. Its namespaces exist. */
  pid: 2,
  /**
   * From `init`: mounts and devices are there, the root is not yet the container's. The engine moves network devices, connects
   * the network, runs the hooks prestart and createRuntime in this order with the state `creating`, and answers with the same tag.
   */
  prepare: 3,
  /**
   * From the container's first process: everything is applied and the program is known to exist. No answer. After it, a process of
   * `create` waits for the fifo, and one of `exec` or `run`, whose startContainer hooks have run, becomes the program.
   */
  ready: 4,
  /** From `launcher` when it supervises: the wait status of the container's first process. */
  ended: 5,
  /**
   * To whoever waits for it: the container's cgroup is there, with its limits. Only where `cgroupLater`: it is not asked for. The launch begins
   * while the engine makes the cgroup.
   */
  cgroup: 6,
  /** As `ended`, where the launcher has removed the container as well, record and cgroups included. It does not wait for the engine's last word. */
  removed: 7,
  /**
   * From `init`, where it will wait for `start`: is it on record? Answered with the same tag when its pid is. A first process whose launcher or
   * engine was killed before that would wait for ever, and nobody would know of it.
   */
  recorded: 8,
} as const;

/** Between processes of the launch. */
export const PEER = {
  /** launcher to its child: ids are mapped; value: the child's pid as the engine sees it. */
  mapped: 10,
  /** init to launcher: the limits of resources may be set now; and back: they are set. */
  limits: 11,
  /** stage to launcher, value: the pid of the container's first process. */
  pid: 12,
} as const;
