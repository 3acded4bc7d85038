/** The state of a container as JSON (runtime.md, "State"; schema/state-schema.json), and the state that hooks and seccomp agents get. */

export type ContainerStatus = 'creating' | 'created' | 'running' | 'stopped' | 'paused';

export interface OciState {
  readonly ociVersion: string;
  readonly id: string;
  readonly status: ContainerStatus;
  /** As the reader sees it; absent once the container has stopped. */
  readonly pid?: number;
  /** Absolute path of the bundle's folder. */
  readonly bundle: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What goes with a seccomp listener's descriptor (config-linux.md, "The Container Process State"). */
export interface ContainerProcessState {
  readonly ociVersion: string;
  /** Names of the descriptors sent: `seccompFd`. */
  readonly fds: readonly string[];
  readonly pid: number;
  readonly metadata?: string;
  readonly state: OciState;
}
