/**
 * What the minimal guest kernel is made of: every option that is switched on beyond `make allnoconfig`, by group and with the
 * reason. Everything not listed, or needed by what is listed, is off: no modules, no sound, no USB, no SCSI, no graphics, no
 * tracing. Option names as in the kernel's Kconfig files.
 */

/** A group of options that are there for one reason. */
export interface ConfigGroup {
  readonly reason: string;
  /**
   * Option names without `CONFIG_`: `NAME` means `NAME=y`, else `NAME=value` as it stands in a .config. A `?` marks what some
   * kernel versions do not have.
   */
  readonly options: readonly string[];
}

export const MINIMAL_CONFIG: readonly ConfigGroup[] = [
  {
    reason: 'a 64-bit SMP machine of up to 64 CPUs, its timers and how it is named and packed',
    options: [
      // Without it Kconfig switches on what it thinks nobody would want to leave out: consoles on screens, keyboards.
      'EXPERT',
      'BASE_FULL',
      '64BIT',
      'SMP',
      'NR_CPUS=64',
      'NO_HZ_IDLE',
      'HIGH_RES_TIMERS',
      // Ticks are exits; anything finer is the work of high-resolution timers.
      'HZ_100',
      'LOCALVERSION="-tvmm"',
      'KERNEL_LZ4',
      'CC_OPTIMIZE_FOR_PERFORMANCE',
      'JUMP_LABEL',
      'SLUB',
      'SLUB_CPU_PARTIAL',
      'SPARSEMEM_VMEMMAP',
      'RELOCATABLE',
    ],
  },
  {
    reason: 'entry through PVH, and the paravirtual clock, interrupts and spinlocks of KVM',
    options: [
      'HYPERVISOR_GUEST',
      'PARAVIRT',
      'PARAVIRT_SPINLOCKS',
      'KVM_GUEST',
      'PVH',
      'X86_X2APIC',
      'PTP_1588_CLOCK',
      'PTP_1588_CLOCK_KVM',
    ],
  },
  {
    reason: 'the guest’s own protection from what it runs',
    options: [
      // One switch, two names: stable kernels took the second.
      'SPECULATION_MITIGATIONS?',
      'CPU_MITIGATIONS?',
      'PAGE_TABLE_ISOLATION',
      'RETPOLINE',
      'RETHUNK',
      'CPU_IBPB_ENTRY',
      'CPU_IBRS_ENTRY',
      'CPU_UNRET_ENTRY',
      'CPU_SRSO?',
      'MITIGATION_RFDS?',
      'MITIGATION_SPECTRE_BHI?',
      'MITIGATION_ITS?',
      'MITIGATION_TSA?',
      'STACKPROTECTOR',
      'STACKPROTECTOR_STRONG',
      'VMAP_STACK',
      'HARDENED_USERCOPY',
      'FORTIFY_SOURCE',
      'X86_UMIP',
      'LEGACY_VSYSCALL_NONE',
      'RANDOM_TRUST_CPU',
      'RANDOM_TRUST_BOOTLOADER',
    ],
  },
  {
    reason: 'the machine is described by ACPI and reached through PCI with MSI',
    options: ['ACPI', 'PCI', 'PCI_MSI', 'PCI_MMCONFIG', 'VIRT_DRIVERS', 'VMGENID', 'X86_MSR'],
  },
  {
    reason: 'what is printed, where, and what a crash says',
    options: [
      'PRINTK',
      'PRINTK_TIME',
      'EARLY_PRINTK',
      'BUG',
      'KALLSYMS',
      // No unwind tables: they would be a tenth of the image.
      'UNWINDER_GUESS',
      'MAGIC_SYSRQ',
      'IKCONFIG',
      'IKCONFIG_PROC',
      'TTY',
      'UNIX98_PTYS',
      'SERIAL_8250',
      'SERIAL_8250_PNP', // with hardware-reduced ACPI only the DSDT knows its interrupt: no legacy IRQ 4 exists, and ttyS0 would not open
      'SERIAL_8250_CONSOLE',
      'SERIAL_8250_NR_UARTS=4',
      // Probing a port that is not there is a series of exits.
      'SERIAL_8250_RUNTIME_UARTS=1',
    ],
  },
  {
    reason: 'the system calls that C libraries, Node and container engines use',
    options: [
      'MULTIUSER',
      'SYSVIPC',
      'POSIX_MQUEUE',
      'FHANDLE',
      'POSIX_TIMERS',
      'FUTEX',
      'EPOLL',
      'SIGNALFD',
      'TIMERFD',
      'EVENTFD',
      'AIO',
      'IO_URING',
      'SHMEM',
      'ADVISE_SYSCALLS',
      'MEMBARRIER',
      'RSEQ',
      'KCMP',
      'CROSS_MEMORY_ATTACH',
      'FILE_LOCKING',
      'INOTIFY_USER',
      'FANOTIFY',
      'USERFAULTFD',
      'BINFMT_ELF',
      'BINFMT_SCRIPT',
      'COREDUMP',
      'ELF_CORE',
      'BPF_SYSCALL',
      // Before 6.10 the JIT needs module support for its memory; the interpreter does its work then.
      'BPF_JIT?',
      'SECCOMP',
      'SECCOMP_FILTER',
      'KEYS',
      'PROC_FS',
      'PROC_SYSCTL',
      'PROC_PAGE_MONITOR',
      'SYSFS',
    ],
  },
  {
    reason: 'memory: large pages for speed, and what gives pages back to the host',
    options: [
      'TRANSPARENT_HUGEPAGE',
      'TRANSPARENT_HUGEPAGE_MADVISE',
      'HUGETLBFS',
      'COMPACTION',
      'MIGRATION',
      'MEMORY_BALLOON',
      'BALLOON_COMPACTION',
      'VIRTIO_BALLOON',
    ],
  },
  {
    reason: 'all namespaces',
    options: ['NAMESPACES', 'UTS_NS', 'TIME_NS', 'IPC_NS', 'USER_NS', 'PID_NS', 'NET_NS'],
  },
  {
    reason: 'cgroups with every controller, so that containers are limited in the guest as on the host',
    options: [
      'CGROUPS',
      'MEMCG',
      'BLK_CGROUP',
      'BLK_DEV_THROTTLING',
      'BLK_CGROUP_IOLATENCY',
      'BLK_CGROUP_IOCOST',
      'CGROUP_SCHED',
      'FAIR_GROUP_SCHED',
      'CFS_BANDWIDTH',
      'CGROUP_PIDS',
      'CGROUP_RDMA',
      'CGROUP_FREEZER',
      'CGROUP_HUGETLB',
      'CPUSETS',
      'PROC_PID_CPUSET',
      'CGROUP_DEVICE',
      'CGROUP_CPUACCT',
      'CGROUP_PERF',
      'PERF_EVENTS',
      'CGROUP_BPF',
      'CGROUP_MISC',
      'CGROUP_NET_PRIO',
      'CGROUP_NET_CLASSID',
      'PSI',
    ],
  },
  {
    reason: 'virtio, over PCI and over MMIO (found through ACPI or the command line), and its devices',
    options: [
      'VIRTIO_MENU',
      'VIRTIO_PCI',
      'VIRTIO_MMIO',
      'VIRTIO_MMIO_CMDLINE_DEVICES',
      'BLK_DEV',
      'VIRTIO_BLK',
      'VIRTIO_NET',
      'VIRTIO_CONSOLE',
      'HW_RANDOM',
      'HW_RANDOM_VIRTIO',
      'VSOCKETS',
      'VIRTIO_VSOCKETS',
      'FUSE_FS',
      'VIRTIO_FS',
    ],
  },
  {
    reason: 'disks, their partitions, and the passed-through NVMe',
    options: [
      'BLOCK',
      'BLK_DEV_NVME',
      'BLK_DEV_LOOP',
      'PARTITION_ADVANCED',
      'MSDOS_PARTITION',
      'EFI_PARTITION',
      'BLK_DEV_INITRD',
      'RD_GZIP',
    ],
  },
  {
    reason: 'file systems of guests and containers',
    options: [
      'EXT4_FS',
      'EXT4_USE_FOR_EXT2',
      'EXT4_FS_POSIX_ACL',
      'EXT4_FS_SECURITY',
      'CRYPTO',
      'CRYPTO_CRC32C_INTEL',
      'MISC_FILESYSTEMS',
      'EROFS_FS',
      'EROFS_FS_XATTR',
      'EROFS_FS_POSIX_ACL',
      'EROFS_FS_ZIP',
      'OVERLAY_FS',
      'TMPFS',
      'TMPFS_POSIX_ACL',
      'TMPFS_XATTR',
      'DEVTMPFS',
      // For a root that is booted without an initramfs.
      'DEVTMPFS_MOUNT',
    ],
  },
  {
    reason: 'sockets, and the interfaces and bridges of container networks',
    options: [
      'NET',
      'UNIX',
      'PACKET',
      'INET',
      'IP_MULTICAST',
      'IP_ADVANCED_ROUTER',
      'IP_MULTIPLE_TABLES',
      'IP_PNP',
      'SYN_COOKIES',
      'INET_DIAG',
      'IPV6',
      'NETDEVICES',
      'NET_CORE',
      'DUMMY',
      'VETH',
      'TUN',
      'BRIDGE',
      'BRIDGE_VLAN_FILTERING',
      'VLAN_8021Q',
      'MACVLAN',
      'IPVLAN',
      'NET_SCHED',
      'NET_SCH_TBF',
      'NET_SCH_FQ_CODEL',
    ],
  },
  {
    reason: 'nftables, and what iptables-nft translates to, for NAT, published ports and default-deny',
    options: [
      'NETFILTER',
      'NETFILTER_ADVANCED',
      'NETFILTER_INGRESS',
      'BRIDGE_NETFILTER',
      'NF_CONNTRACK',
      'NF_NAT',
      'NF_TABLES',
      'NF_TABLES_INET',
      'NF_TABLES_IPV4',
      'NF_TABLES_IPV6',
      'NF_TABLES_BRIDGE',
      'NFT_CT',
      'NFT_NAT',
      'NFT_MASQ',
      'NFT_REDIR',
      'NFT_LIMIT',
      'NFT_LOG',
      'NFT_REJECT',
      'NFT_FIB_IPV4',
      'NFT_FIB_IPV6',
      'NFT_FIB_INET',
      'NFT_COMPAT',
      'NETFILTER_XTABLES',
      'NETFILTER_XT_MARK',
      'NETFILTER_XT_NAT',
      'NETFILTER_XT_TARGET_MASQUERADE',
      'NETFILTER_XT_MATCH_ADDRTYPE',
      'NETFILTER_XT_MATCH_COMMENT',
      'NETFILTER_XT_MATCH_CONNTRACK',
      'NETFILTER_XT_MATCH_MULTIPORT',
    ],
  },
];

/** The options as the lines of a .config fragment, each group under its reason. */
export function configFragment(groups: readonly ConfigGroup[] = MINIMAL_CONFIG): string {
  return groups
    .map(
      ({ reason, options }) => `# ${reason}\n${options.map((option) => `${configLine(option)}\n`).join('')}`,
    )
    .join('\n');
}

function configLine(option: string): string {
  const name = option.replace('?', '');
  return `CONFIG_${name.includes('=') ? name : `${name}=y`}`;
}

/** Options of the fragment that a finished .config does not have, but for those that may be missing. */
export function missingOptions(config: string, groups: readonly ConfigGroup[] = MINIMAL_CONFIG): string[] {
  const lines = new Set(config.split('\n'));
  return groups.flatMap(({ options }) =>
    options.filter((option) => !option.endsWith('?') && !lines.has(configLine(option))),
  );
}
