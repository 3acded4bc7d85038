/**
 * Which capabilities a container has (`--cap-add`, `--cap-drop`, `--privileged`). The default is docker's fourteen without the three that
 * open more than ordinary programs need: NET_RAW (forged packets on the bridge), MKNOD and AUDIT_WRITE.
 */
import { CAPABILITIES } from '../../spec/capabilities.js';
import { OptionError } from '../errors.js';

const DEFAULT_CAPABILITIES: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];

function named(option: string, word: string): string {
  const upper = word.toUpperCase();
  const name = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (upper === 'ALL' || CAPABILITIES.some((one) => one === name)) return upper === 'ALL' ? 'ALL' : name;
  throw new OptionError(option, `${JSON.stringify(word)} is no capability`, 'capabilities(7) has the names');
}

/**
 * The set, in the order of the kernel's numbers. What is dropped by name wins over `--cap-add all`, what is added by name over
 * `--cap-drop all`.
 *
 * @throws OptionError for a name that no kernel knows, and for one that is both added and dropped
 */
export function containerCapabilities(
  add: readonly string[],
  drop: readonly string[],
  privileged: boolean,
): readonly string[] {
  const added = new Set(add.map((word) => named('--cap-add', word)));
  const dropped = new Set(drop.map((word) => named('--cap-drop', word)));
  for (const name of added) {
    if (dropped.has(name)) throw new OptionError('--cap-add', `${name} is also in --cap-drop`);
  }
  const base = privileged || added.has('ALL') ? CAPABILITIES : dropped.has('ALL') ? [] : DEFAULT_CAPABILITIES;
  const set = new Set<string>(base);
  for (const name of added) set.add(name);
  for (const name of dropped) set.delete(name);
  return CAPABILITIES.filter((name) => set.has(name));
}
