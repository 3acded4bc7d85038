/**
 * What tvmm needs from the distribution, each thing with its reason, and its installation by apt. A thing counts as there when the
 * file that is used is there, whoever installed it; so this asks neither dpkg nor apt when all is well.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { StepError, say, step } from './step.mjs';

/**
 * `file`: a command to be found in the PATH, or an absolute path. `for`: `run` what tvmm needs to build and boot, `test` what its
 * tests need on top, `bench` what the benchmarks need.
 */
export const PACKAGES = [
  {
    name: 'gcc',
    file: 'gcc',
    for: 'run',
    why: 'assembles the flat guests and compiles the small C tools of firmware/',
  },
  { name: 'binutils', file: 'objcopy', for: 'run', why: 'links the flat guests' },
  { name: 'libc6-dev', file: '/usr/include/stdio.h', for: 'run', why: 'the C tools’ headers' },
  {
    name: 'linux-libc-dev',
    file: '/usr/include/linux/kvm.h',
    for: 'run',
    why: 'the C tools’ and the layout tests’ <linux/kvm.h>',
  },
  {
    name: 'qemu-system-x86',
    file: 'qemu-system-x86_64',
    for: 'run',
    why: 'the lab: emulates AMD-V where there is no usable KVM',
  },
  {
    name: 'busybox-static',
    file: 'busybox',
    for: 'run',
    why: 'user space of the lab and of the default guest',
  },
  { name: 'e2fsprogs', file: 'mkfs.ext4', for: 'run', why: 'makes the guest’s root image' },
  { name: 'xz-utils', file: 'xz', for: 'run', why: 'kernels and modules may be packed with it' },
  { name: 'zstd', file: 'zstd', for: 'run', why: 'kernels and modules may be packed with it' },
  {
    name: 'containernetworking-plugins',
    file: '/usr/lib/cni/bridge',
    for: 'run',
    why: 'bridge networks of containers: bridge, host-local, portmap, firewall',
  },
  {
    name: 'iptables',
    file: 'iptables',
    for: 'run',
    why: 'the CNI plugins’ published ports and masquerading',
  },
  { name: 'nftables', file: 'nft', for: 'run', why: 'isolation between containers and between networks' },
  { name: 'lz4', file: 'lz4', for: 'test', why: 'the reference for our own decompressor' },
  { name: 'cpio', file: 'cpio', for: 'test', why: 'the reference for our own archive writer' },
  { name: 'iproute2', file: 'ip', for: 'test', why: 'an outsider’s view of links and namespaces' },
  {
    name: 'uidmap',
    file: 'newuidmap',
    for: 'test',
    why: 'maps the subordinate ids of users without root',
  },
  { name: 'passt', file: 'pasta', for: 'test', why: 'networks of containers without root' },
  { name: 'slirp4netns', file: 'slirp4netns', for: 'test', why: 'the same where there is no pasta' },
  { name: 'skopeo', file: 'skopeo', for: 'test', why: 'makes and reads images as other tools have them' },
  { name: 'docker-registry', file: 'docker-registry', for: 'test', why: 'a registry that is not our own' },
  {
    name: 'apparmor',
    file: 'apparmor_parser',
    for: 'test',
    why: 'loads the profiles of containers in the lab',
  },
  { name: 'strace', file: 'strace', for: 'test', why: 'ends programs at a chosen one of their system calls' },
  { name: 'podman', file: 'podman', for: 'test', why: 'a client that starts containers with our runtime' },
  {
    name: 'containerd',
    file: 'containerd',
    for: 'test',
    why: 'a client that starts containers with our runtime, also as Kubernetes makes it',
  },
  {
    name: 'docker.io',
    file: 'dockerd',
    for: 'test',
    why: 'a client that starts and builds containers with our runtime',
  },
  { name: 'criu', file: 'criu', for: 'test', why: 'checkpoint and restore of containers' },
  { name: 'acpica-tools', file: 'iasl', for: 'test', why: 'disassembles our ACPI tables' },
  { name: 'fio', file: 'fio', for: 'bench', why: 'drives the block benchmarks' },
  { name: 'crun', file: 'crun', for: 'bench', why: 'container starts are measured against it' },
  { name: 'runc', file: 'runc', for: 'bench', why: 'container starts are measured against it' },
];

const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

function isThere(file) {
  if (file.startsWith('/')) return existsSync(file);
  return [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_FOLDERS].some((folder) =>
    existsSync(join(folder, file)),
  );
}

/** The packages whose file is missing, for `run` and the other purposes given. */
export function missingPackages(purposes) {
  return PACKAGES.filter((one) => purposes.includes(one.for) && !isThere(one.file));
}

/** How to become root without a question: nothing to do, sudo, or not at all. */
function rootPrefix() {
  if (process.getuid?.() === 0) return [];
  const sudo = spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' });
  return sudo.status === 0 ? ['sudo', '-n'] : undefined;
}

/** Whether apt has any package lists: a fresh container has none. */
function hasLists() {
  try {
    return readdirSync('/var/lib/apt/lists').some(
      (name) => name.endsWith('_Packages') || name.includes('_Packages.'),
    );
  } catch {
    return false;
  }
}

/** Installs what is missing, or throws a StepError with the one line that does. */
export async function installPackages(purposes) {
  const wanted = missingPackages(purposes);
  if (wanted.length === 0) return false;
  const names = wanted.map(({ name }) => name);
  const install = ['apt-get', 'install', '-y', '--no-install-recommends', ...names];
  const byHand = `sudo apt-get update && sudo ${install.join(' ')}`;
  for (const { name, why } of wanted) say(`missing: ${name} (${why})`);
  if (!isThere('apt-get')) {
    throw new StepError(
      `this machine has no apt; install by its own means what provides ${wanted.map(({ file }) => file).join(', ')}`,
    );
  }
  const prefix = rootPrefix();
  if (prefix === undefined) {
    throw new StepError(
      `packages are missing, and installing them needs root. Run this, then try again:\n  ${byHand}`,
    );
  }
  const run = (what, words) => {
    // sudo does not pass the environment on, env does.
    const [command, ...args] = [...prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', ...words];
    return step(what, command, args);
  };
  const what = `installing ${names.join(', ')}`;
  const update = () => run('updating the package lists', ['apt-get', 'update', '-q']);
  try {
    if (!hasLists()) await update();
    try {
      await run(what, install);
    } catch (error) {
      // Killed halfway last time: dpkg says which command finishes its work.
      if (/dpkg --configure -a/.test(error.output ?? '')) {
        await run('finishing an interrupted installation', ['dpkg', '--configure', '-a']);
      } else if (
        /Unable to (locate package|fetch)|404|has no installation candidate/.test(error.output ?? '')
      ) {
        // Old lists name files that the archive has replaced.
        await update();
      } else {
        throw error;
      }
      await run(what, install);
    }
  } catch (error) {
    throw new StepError(`${error.message}\nThe same by hand:\n  ${byHand}`);
  }
  const still = missingPackages(purposes);
  if (still.length > 0) {
    throw new StepError(
      `after the installation still missing: ${still.map(({ name, file }) => `${file} of ${name}`).join(', ')}`,
    );
  }
  return true;
}
