/**
 * The command table: every command of `tvmm` is one line here and one module. A module is imported only when its command is the
 * one that runs; the summaries stand here so that `tvmm --help` loads none of them.
 */
import type { Command } from 'commander';
import { ENGINE_COMMANDS } from './engine/table.js';

/** What a command's module exports. */
export interface CommandModule {
  /** Adds the command, with its options, help and action, to the program. */
  register(program: Command): void;
}

/** One line of the table. */
export interface CommandEntry {
  readonly name: string;
  /** One line for `tvmm --help`. */
  readonly summary: string;
  /** The heading in `tvmm --help` that it stands under. */
  readonly group: string;
  load(): Promise<CommandModule>;
}

const CONTAINERS = 'Containers:';
const OCI = 'What containers are made of:';
const MACHINES = 'Machines:';
const HOST = 'This host:';

export const COMMANDS: readonly CommandEntry[] = [
  ...ENGINE_COMMANDS.map((entry) => ({ ...entry, group: CONTAINERS })),
  {
    name: 'boot',
    group: MACHINES,
    summary: 'boot a Linux kernel in a microVM',
    load: () => import('./boot.js'),
  },
  {
    name: 'doctor',
    group: HOST,
    summary: 'say what this host can do, and what to do about the rest',
    load: () => import('./doctor.js'),
  },
  {
    name: 'lab',
    group: MACHINES,
    summary: 'run a command in an emulated machine with AMD-V and KVM',
    load: () => import('./lab.js'),
  },
  {
    name: 'image',
    group: CONTAINERS,
    summary: 'pull, load, save and list container images; build the default guest',
    load: () => import('./container-image.js'),
  },
  {
    name: 'login',
    group: CONTAINERS,
    summary: 'keep a password for a registry of images',
    load: () => import('./login.js'),
  },
  {
    name: 'logout',
    group: CONTAINERS,
    summary: 'forget it',
    load: () => import('./logout.js'),
  },
  {
    name: 'version',
    group: HOST,
    summary: 'print the version, and what it runs on',
    load: () => import('./version.js'),
  },
  {
    name: 'oci',
    group: OCI,
    summary: 'be an OCI runtime: the command line of runc',
    load: () => import('./oci-command.js'),
  },
  {
    name: 'plan',
    group: OCI,
    summary: 'print the system calls that make a container',
    load: () => import('./plan.js'),
  },
  {
    name: 'assess',
    group: OCI,
    summary: "say how strong a container's isolation is",
    load: () => import('./assess.js'),
  },
  {
    name: 'serve',
    group: OCI,
    summary: 'keep the container engine in memory, so that containers start sooner',
    load: () => import('./serve.js'),
  },
  {
    name: 'kernel',
    group: MACHINES,
    summary: 'build the minimal guest kernel, or say where it is',
    load: () => import('./kernel.js'),
  },
  {
    name: 'completion',
    group: HOST,
    summary: 'print the completion script for a shell',
    load: () => import('./completion.js'),
  },
];
