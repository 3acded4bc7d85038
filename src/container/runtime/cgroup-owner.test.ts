/** Whose a container's cgroup is (config-linux.md, "Cgroup ownership"). */
import { expect, it } from 'vitest';
import { cgroupOwnerOf } from './furnishing.js';

const mount = (options: string[] = ['rw'], source = 'cgroup') => ({
  destination: '/sys/fs//cgroup/',
  type: 'cgroup',
  source,
  options,
});
const linux = {
  namespaces: [{ type: 'cgroup' as const }, { type: 'user' as const }],
  uidMappings: [
    { containerID: 0, hostID: 100_000, size: 1000 },
    { containerID: 1000, hostID: 7, size: 1 },
  ],
  gidMappings: [{ containerID: 0, hostID: 200_000, size: 2000 }],
};
const user = (uid: number, gid = 0) => ({ args: ['sh'], cwd: '/', user: { uid, gid } });

it('belongs to the host’s user that the program’s user is mapped to', () => {
  expect(cgroupOwnerOf({ linux, mounts: [mount()] })).toEqual({ uid: 100_000, gid: 200_000 });
  expect(cgroupOwnerOf({ linux, mounts: [mount()], process: user(1000, 5) })).toEqual({
    uid: 7,
    gid: 200_005,
  });
  const own = { namespaces: [{ type: 'cgroup' as const }] };
  expect(cgroupOwnerOf({ linux: own, mounts: [mount()], process: user(33, 34) })).toEqual({
    uid: 33,
    gid: 34,
  });
});

it('stays root’s where it is not mounted writable, without a namespace of its own, or for a user without mapping', () => {
  for (const spec of [
    { linux, mounts: [mount(['ro'])] },
    { linux, mounts: [] },
    { linux, mounts: [mount(['rbind'], '/elsewhere')] },
    { linux: { ...linux, namespaces: [{ type: 'user' as const }] }, mounts: [mount()] },
    { linux, mounts: [mount()], process: user(5000) },
    { linux: { namespaces: [{ type: 'cgroup' as const }] }, mounts: [mount()], process: user(0) },
  ])
    expect(cgroupOwnerOf(spec)).toBeUndefined();
});
