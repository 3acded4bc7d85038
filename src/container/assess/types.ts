/** What an assessment of a container's isolation takes and gives. */
import type { OciSpec } from '../spec/types.js';

/**
 * `critical`: the host is the container's for the asking. `high`: one further weakness, or one step more, and it is. `medium`: a wall is
 * missing that others stand behind, or neighbours can be disturbed. `low`: better without.
 */
export const SEVERITIES = ['critical', 'high', 'medium', 'low'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** One weakness. */
export interface Finding {
  /** Stable name for programs: `host-pid-namespace`. */
  readonly id: string;
  readonly severity: Severity;
  /** One clause. */
  readonly title: string;
  /** What it lets a program in the container do. */
  readonly why: string;
  /** What to do, in the words of config.json. */
  readonly recommendation: string;
  /** The same in options of `tvmm run`, where there are some. */
  readonly option?: string;
  /** What it is about: paths, capabilities, namespaces. */
  readonly objects: readonly string[];
}

/** What a container's configuration does not tell. */
export interface AssessFacts {
  /** The engine has no privileges: container ids end at an ordinary user, whatever the configuration says. */
  readonly rootless: boolean;
  /** Security modules of the kernel, as /sys/kernel/security/lsm lists them: `apparmor`, `selinux`. */
  readonly securityModules: readonly string[];
}

/** One layer of the score. */
export interface LayerScore {
  readonly id: string;
  readonly title: string;
  /** Points earned, of `of`. */
  readonly points: number;
  readonly of: number;
}

/** The result. `score` is 0 (none) to 100; docs/assess.md has the formula. */
export interface Assessment {
  readonly score: number;
  /** The most severe first. */
  readonly findings: readonly Finding[];
  readonly layers: readonly LayerScore[];
  /** What the layers' sum was multiplied with for the most severe finding. */
  readonly factor: number;
}

/** The parts of config.json that are looked at; all that matters may be missing. */
export type AssessedSpec = Pick<OciSpec, 'process' | 'root' | 'mounts' | 'hooks' | 'linux'>;
