/**
 * What some tests need and not every machine has. A test that cannot run says so by {@link needs}; the reporter beside this file checks
 * that each skip is one that this machine explains, so that nothing is skipped by accident.
 *
 * Tools that `npm run setup -- --test` installs are not in here: a test that skips for want of one of those is a failure of the setup.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { freemem, constants as os } from 'node:os';
import { dirname } from 'node:path';
import { readLayout } from '../../src/container/cgroup/layout.js';
import { cachedMinimalKernel } from '../../src/guest/minimal-kernel.js';
import { whyNoLab } from '../../src/lab/start.js';
import { lastErrno, syscall } from '../../src/sys/libc.js';
import { kvmUsability } from '../../src/vmm/accel.js';

/** One thing that a machine may lack. */
export interface Need {
  /** What a skipped test says; a skip whose note or name holds this text is explained where the thing is absent. */
  readonly reason: string;
  present(): boolean;
}

const IO_URING_SETUP = 425;
/** The criu of tests: another than the distribution's may know newer kernels. */
export const CRIU = process.env.TVMM_TEST_CRIU ?? 'criu';

function opens(path: string): boolean {
  try {
    closeSync(openSync(path, constants.O_RDWR));
    return true;
  } catch {
    return false;
  }
}

function freeHugePages(): boolean {
  const folder = '/sys/kernel/mm/hugepages';
  try {
    return readdirSync(folder).some(
      (size) => Number(readFileSync(`${folder}/${size}/free_hugepages`, 'utf8')) > 0,
    );
  } catch {
    return false;
  }
}

/** Whether every folder down to this file lets any user through. */
function openToOthers(): boolean {
  for (let folder = import.meta.dirname; folder !== '/'; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return false;
  }
  return true;
}

/** What of its cgroups this machine has; nothing where none are mounted. */
function cgroups(): { v1: boolean; v2: boolean; hugetlbOnV2: boolean } {
  try {
    const { version, v1, v2 } = readLayout();
    const hugetlbOnV2 = v2?.controllers.includes('hugetlb') === true && !v1.has('hugetlb');
    return { v1: version !== 'v2', v2: v2 !== undefined, hugetlbOnV2 };
  } catch {
    return { v1: false, v2: false, hugetlbOnV2: false };
  }
}

export const NEEDS = {
  kvm: { reason: 'no /dev/kvm', present: () => opens('/dev/kvm') },
  hardware: { reason: 'no hardware virtualization', present: () => kvmUsability().usable },
  root: { reason: 'not root', present: () => process.getuid?.() === 0 },
  ioUring: {
    reason: 'no io_uring',
    // Without parameters the call fails with EFAULT where there is io_uring, with ENOSYS or EPERM where there is none for us.
    present: () => syscall(IO_URING_SETUP, 1, 0, 0, 0, 0, 0) >= 0 || lastErrno() === os.errno.EFAULT,
  },
  hugePages: { reason: 'no free huge pages', present: freeHugePages },
  tun: { reason: 'no /dev/net/tun', present: () => opens('/dev/net/tun') },
  firewall: {
    reason: 'no iptables for this kernel',
    // Where the command itself is missing, the setup is wrong, and a test that fails says so.
    present: () => {
      const { status, error } = spawnSync('iptables', ['-w', '-t', 'nat', '-S'], { stdio: 'ignore' });
      return error !== undefined || status === 0;
    },
  },
  criu: {
    reason: 'no criu that knows this kernel',
    present: () => spawnSync(CRIU, ['check'], { stdio: 'ignore' }).status === 0,
  },
  lab: { reason: 'no lab', present: () => whyNoLab() === undefined },
  cgroupV1: { reason: 'no cgroup v1 controllers', present: () => cgroups().v1 },
  cgroupV2: { reason: 'no cgroup v2 hierarchy', present: () => cgroups().v2 },
  cgroupV2Hugetlb: { reason: 'no hugetlb controller on cgroup v2', present: () => cgroups().hugetlbOnV2 },
  pressure: { reason: 'no pressure stall information', present: () => existsSync('/proc/pressure/cpu') },
  /** For a lab that holds a guest of 5 GiB. */
  bigMemory: { reason: 'less than 8 GiB of memory are free', present: () => freemem() >= 8 * 2 ** 30 },
  minimalKernel: {
    reason: 'the minimal kernel is not built',
    present: () => cachedMinimalKernel() !== undefined,
  },
  /** As long as something else traces this process tree, nobody can. */
  strace: {
    reason: 'strace cannot trace here',
    present: () => spawnSync('strace', ['-o', '/dev/null', 'true']).status === 0,
  },
  /** For tests that run tvmm as another user. */
  openCheckout: { reason: 'this checkout is closed to other users', present: openToOthers },
  /** Minutes of work that a plain `npm test` leaves out: `TVMM_SLOW=1 npm test`. */
  slow: { reason: 'slow tests only run with TVMM_SLOW=1', present: () => process.env.TVMM_SLOW === '1' },
} as const satisfies Record<string, Need>;

/** Skips the running test where this machine lacks any of `names`; the note says what. */
export function needs(
  context: { skip(note?: string): never },
  ...names: readonly (keyof typeof NEEDS)[]
): void {
  for (const name of names) {
    const need: Need = NEEDS[name];
    if (!need.present()) context.skip(need.reason);
  }
}

/** Whether a skip with this note or name is one that this machine explains. */
export function isExplained(text: string, table: Readonly<Record<string, Need>> = NEEDS): boolean {
  return Object.values(table).some(({ reason, present }) => text.includes(reason) && !present());
}
