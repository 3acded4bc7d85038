/** What the parts of a config.json must agree on: rules between members that the specification, or the kernel, makes hard errors. */
import { Field } from './field.js';
import { parseMountOptions } from './mount-options.js';
import type { NamespaceType } from './namespaces.js';
import type { OciMount, OciNamespace, OciSpec } from './types.js';

/** Notes what contradicts itself in a document whose members are well formed. */
export function checkSpec(spec: OciSpec, root: Field): void {
  const linux = spec.linux ?? {};
  const namespaces = new Map<NamespaceType, OciNamespace>(
    linux.namespaces?.map((namespace) => [namespace.type, namespace]),
  );
  const needs = (path: string, present: boolean, type: NamespaceType, why: string) => {
    if (present && !namespaces.has(type))
      at(root, path).problem(`needs a ${type} namespace in linux.namespaces: ${why}`);
  };
  needs('hostname', spec.hostname !== undefined, 'uts', "it would change the host's");
  needs('domainname', spec.domainname !== undefined, 'uts', "it would change the host's");
  needs(
    'linux.netDevices',
    Object.keys(linux.netDevices ?? {}).length > 0,
    'network',
    'the devices would have nowhere to go',
  );
  needs('linux.timeOffsets', linux.timeOffsets !== undefined, 'time', "the offsets are a namespace's");

  if (linux.timeOffsets !== undefined && namespaces.get('time')?.path !== undefined)
    at(root, 'linux.timeOffsets').problem('must not be set where the time namespace is joined by path');

  const user = namespaces.get('user');
  for (const name of ['uidMappings', 'gidMappings'] as const) {
    const present = linux[name] !== undefined;
    needs(`linux.${name}`, present, 'user', 'there is nothing to map');
    if (!present && user !== undefined && user.path === undefined)
      at(root, `linux.${name}`).problem('is missing: a new user namespace needs mappings');
  }
  spec.mounts?.forEach((mount, index) => {
    checkIdMap(mount, user !== undefined, at(root, `mounts[${index}]`));
  });
}

/** "If there are no mappings specified and the container isn't using user namespaces, an error MUST be returned" (config.md). */
function checkIdMap(mount: OciMount, userNamespace: boolean, field: Field): void {
  const { idmap } = parseMountOptions(mount.options ?? []);
  if (idmap !== undefined && mount.uidMappings === undefined && !userNamespace)
    field.problem(
      'has the option idmap or ridmap, but neither mappings nor a user namespace to take them from',
    );
}

function at(root: Field, path: string): Field {
  return new Field(undefined, path, root.problems);
}
