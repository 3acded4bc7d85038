/** `mounts`, `hooks` and id mappings of config.json (config.md, "Mounts", "POSIX-platform Hooks"; config-linux.md, "User namespace mappings"). */
import { defined, type Field } from './field.js';
import { parseMountOptions } from './mount-options.js';
import { HOOK_KINDS, type OciHook, type OciHooks, type OciIdMapping, type OciMount } from './types.js';

/** Lines that a uid_map takes (user_namespaces(7), since Linux 4.15). */
const MAX_MAPPINGS = 340;
const IDS = 2 ** 32;

export function parseMounts(mounts: Field): readonly OciMount[] | undefined {
  return mounts.list(parseMount);
}

function parseMount(mount: Field): OciMount | undefined {
  return mount.object((field) => {
    const destination = field.member('destination').requiredText();
    const source = field.member('source').words();
    const options = field.member('options').list((option) => option.text());
    const uidMappings = parseIdMappings(field.member('uidMappings'));
    const gidMappings = parseIdMappings(field.member('gidMappings'));
    checkMount(field, {
      destination,
      ...(source === undefined ? {} : { source }),
      options,
      uidMappings,
      gidMappings,
    });
    return defined({
      destination,
      type: field.member('type').words(),
      source,
      options,
      uidMappings,
      gidMappings,
    });
  });
}

function checkMount(field: Field, mount: OciMount): void {
  const { bind, idmap, remount } = parseMountOptions(mount.options ?? []);
  if (bind !== undefined && !remount && mount.source === undefined)
    field.member('source').problem('is missing: a bind mount needs one');
  if ((mount.uidMappings === undefined) !== (mount.gidMappings === undefined))
    field.problem('must have both uidMappings and gidMappings, or neither');
  if ((idmap !== undefined || mount.uidMappings !== undefined) && bind === undefined)
    field.problem('maps ids, which only bind mounts can do: bind or rbind is missing in its options');
  // A newline could end the line in a file that lists mounts; no path of a sane bundle holds one.
  if (/[\n]/.test(mount.destination)) field.member('destination').problem('must not hold a newline');
}

/** Mappings; an empty list is none. Ranges must not be empty, run over the last id, or overlap on either side. */
export function parseIdMappings(mappings: Field): readonly OciIdMapping[] | undefined {
  const list = mappings.list((mapping) =>
    mapping.object((field) => ({
      containerID: field.member('containerID').requiredUint32(),
      hostID: field.member('hostID').requiredUint32(),
      size: field.member('size').requiredInteger(1, IDS - 1),
    })),
  );
  if (list === undefined || list.length === 0) return undefined;
  if (list.length > MAX_MAPPINGS) mappings.problem(`must not have more than ${MAX_MAPPINGS} elements`);
  for (const side of ['containerID', 'hostID'] as const) {
    const sorted = [...list].sort((a, b) => a[side] - b[side]);
    sorted.forEach((mapping, index) => {
      const next = sorted[index + 1];
      const end = mapping[side] + mapping.size;
      if (end > IDS - 1)
        mappings.problem(
          `must not reach beyond id ${IDS - 2}: ${side} ${mapping[side]}, size ${mapping.size}`,
        );
      if (next !== undefined && end > next[side])
        mappings.problem(
          `must not overlap: ${side} ${mapping[side]}, size ${mapping.size}, reaches ${next[side]}`,
        );
    });
  }
  return list;
}

export function parseHooks(hooks: Field): OciHooks {
  const entries = HOOK_KINDS.map((kind) => [kind, hooks.member(kind).list(parseHook)] as const);
  return defined(Object.fromEntries(entries));
}

function parseHook(hook: Field): OciHook | undefined {
  return hook.object((field) =>
    defined({
      path: field.member('path').absolutePath(),
      args: field.member('args').list((text) => text.text()),
      env: field.member('env').list((text) => text.text()),
      timeout: field.member('timeout').integer(1, 2 ** 31 - 1),
    }),
  );
}
