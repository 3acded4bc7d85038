/**
 * Checks of what guests get from the host beside the processor: IOMMU and VFIO (Documentation/driver-api/vfio.rst), huge pages,
 * vhost, tun.
 */
import { type Check, degraded, type Finding, missing, ok } from './check.js';
import type { Host } from './host.js';

/** A device node that a kernel module makes, and that everything else has a slower or a lesser way around. */
function deviceNode(path: string, module: string, without: string): (host: Host) => Finding {
  return (host) => {
    const error = host.openError(path);
    if (error === undefined) return ok(`${path} opens`);
    if (error === 'EACCES' || error === 'EPERM') {
      return degraded(
        `${path} is closed to ${host.facts.user}; ${without}`,
        `give ${host.facts.user} access to ${path}, or run as root`,
      );
    }
    if (host.exists(path))
      return degraded(`${path} does not open (${error}); ${without}`, `modprobe ${module}, as root`);
    return missing(`no ${path}; ${without}`, `modprobe ${module}, as root`);
  };
}

function iommuFix(host: Host): string {
  const intel = /GenuineIntel/.test(host.text('/proc/cpuinfo') ?? '');
  return intel
    ? 'enable VT-d in the firmware setup and boot with intel_iommu=on; tvmm lab --iommu has an emulated one'
    : 'enable the IOMMU (AMD-Vi) in the firmware setup; tvmm lab --iommu has an emulated one';
}

export const deviceChecks: readonly Check[] = [
  {
    id: 'iommu',
    title: 'IOMMU',
    look(host) {
      const units = host.list('/sys/class/iommu');
      const groups = host.list('/sys/kernel/iommu_groups').length;
      if (units.length > 0 && groups > 0) return ok(`${units.join(', ')}; ${groups} groups`);
      if (units.length > 0) return degraded(`${units.join(', ')}, but no groups`, iommuFix(host));
      return missing('none in use: devices cannot be given to guests', iommuFix(host));
    },
  },
  {
    id: 'vfio',
    title: 'VFIO',
    look(host) {
      if (!host.exists('/dev/vfio/vfio')) {
        return missing(
          'no /dev/vfio/vfio: devices cannot be given to guests',
          'modprobe vfio-pci, as root, once there is an IOMMU',
        );
      }
      const groups = host.list('/dev/vfio').filter((name) => /^\d+$/.test(name));
      if (groups.length === 0) {
        return degraded(
          'ready, but no device is bound to it',
          'bind one: write vfio-pci to its driver_override, then its address to drivers_probe',
        );
      }
      const closed = groups.filter((name) => host.openError(`/dev/vfio/${name}`) === 'EACCES');
      const list = `groups ${groups.join(', ')}`;
      if (closed.length === 0) return ok(list);
      return degraded(
        `${list}; ${closed.join(', ')} closed to ${host.facts.user}`,
        `chown ${host.facts.user} /dev/vfio/${closed[0]}, as root`,
      );
    },
  },
  {
    id: 'hugepages',
    title: 'huge pages',
    look(host) {
      const folder = '/sys/kernel/mm/hugepages';
      const pools = host.list(folder).flatMap((name) => {
        const free = host.number(`${folder}/${name}/free_hugepages`) ?? 0;
        const size = Number(/(\d+)kB/.exec(name)?.[1] ?? 0) / 1024;
        return free > 0 ? [`${free} of ${size} MiB free`] : [];
      });
      const transparent = /\[(\w+)\]/.exec(
        host.text('/sys/kernel/mm/transparent_hugepage/enabled') ?? '',
      )?.[1];
      const thp = transparent === undefined ? 'no transparent ones' : `transparent ones: ${transparent}`;
      if (pools.length > 0) return ok(`${pools.join(', ')}; ${thp}`);
      const fix = 'for hugetlbfs-backed guests reserve some: sysctl vm.nr_hugepages=512 (1 GiB), as root';
      if (transparent === 'always' || transparent === 'madvise')
        return degraded(`none reserved; ${thp}`, fix);
      return missing(`none reserved; ${thp}`, fix);
    },
  },
  {
    id: 'vhost.net',
    title: 'vhost-net',
    look: deviceNode('/dev/vhost-net', 'vhost_net', 'network goes through the slower user-space data plane'),
  },
  {
    id: 'vhost.vsock',
    title: 'vhost-vsock',
    look: deviceNode(
      '/dev/vhost-vsock',
      'vhost_vsock',
      'vsock goes through the slower user-space data plane',
    ),
  },
  {
    id: 'tun',
    title: 'tap devices',
    look: deviceNode('/dev/net/tun', 'tun', 'no bridged network for guests'),
  },
];
