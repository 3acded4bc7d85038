/**
 * The five sets of capabilities (config.md, "Linux Process"; capabilities(7)) in the order in which the kernel allows it: bounding while CAP_SETPCAP
 * is there, the others after the user has changed, ambient last. What cannot be granted is a warning.
 */
import { CAPABILITIES, capabilityNames, capabilitySet } from '../spec/capabilities.js';
import type { OciCapabilities } from '../spec/types.js';
import { data, named, type ProgramBuilder } from './builder.js';
import type { HostFacts } from './context.js';
import { PR, PR_CAP_AMBIENT } from './numbers.js';

export interface CapabilitySets {
  readonly bounding: bigint;
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly inheritable: bigint;
  readonly ambient: bigint;
}

/** _LINUX_CAPABILITY_VERSION_3 */
const CAPABILITY_VERSION = 0x2008_0522;

/** What of the configuration's sets this kernel and this caller can give; without sets, nothing. */
export function grantable(
  asked: OciCapabilities | undefined,
  host: HostFacts,
  userNamespace: boolean,
  warn: (message: string) => void,
): CapabilitySets {
  const known = (1n << BigInt(host.lastCapability + 1)) - 1n;
  // The first process of a user namespace has all of them, in there.
  const bounds = userNamespace ? known : host.bounding & known;
  const held = userNamespace ? known : host.permitted & known;
  const told = new Set<string>();
  const tell = (message: string) => {
    if (!told.has(message)) warn(message);
    told.add(message);
  };
  const take = (name: keyof OciCapabilities, within: bigint): bigint => {
    const set = capabilitySet(asked?.[name] ?? [], (unknown) =>
      tell(`${unknown} is no capability that is known here: ignored`),
    );
    // One line: clients that copy one set into another ask for a dozen that the kernel cannot give.
    const missing = capabilityNames(set & ~within).join(', ');
    if (missing !== '')
      tell(
        name === 'ambient'
          ? `can't raise ambient capability ${missing}: not both permitted and inheritable: ignored`
          : `${missing} cannot be granted in process.capabilities.${name}: ignored`,
      );
    return set & within;
  };
  const bounding = take('bounding', bounds);
  const permitted = take('permitted', held);
  const effective = take('effective', permitted);
  const inheritable = take('inheritable', held & bounds);
  const ambient = take('ambient', permitted & inheritable);
  return { bounding, permitted, effective, inheritable, ambient };
}

function names(set: bigint): string {
  return capabilityNames(set).join('|') || '0';
}

/** Drops from the bounding set what is not asked for. */
export function dropBounding(
  program: ProgramBuilder,
  { bounding }: CapabilitySets,
  host: HostFacts,
  userNamespace: boolean,
): void {
  for (let number = 0; number <= host.lastCapability; number++) {
    const bit = 1n << BigInt(number);
    const there = userNamespace || (host.bounding & bit) !== 0n;
    if ((bounding & bit) !== 0n || !there) continue;
    const name = CAPABILITIES[number] ?? `cap_${number}`;
    program.call(`drop ${name} from the bounding set`, 'prctl', [
      named(PR.CAPBSET_DROP, 'PR_CAPBSET_DROP'),
      named(number, name),
      0,
      0,
      0,
    ]);
  }
}

/** Keeps capabilities while the user changes. */
export function keepCapabilities(program: ProgramBuilder): void {
  program.call('keep capabilities while the user changes', 'prctl', [
    named(PR.SET_KEEPCAPS, 'PR_SET_KEEPCAPS'),
    1,
    0,
    0,
    0,
  ]);
}

function capset(
  program: ProgramBuilder,
  what: string,
  { permitted, effective, inheritable }: CapabilitySets,
): void {
  const header = new Uint8Array(8);
  new DataView(header.buffer).setUint32(0, CAPABILITY_VERSION, true);
  const sets = new Uint8Array(24);
  const view = new DataView(sets.buffer);
  for (const half of [0, 1]) {
    const part = (set: bigint) => Number((set >> BigInt(half * 32)) & 0xffff_ffffn);
    view.setUint32(half * 12, part(effective), true);
    view.setUint32(half * 12 + 4, part(permitted), true);
    view.setUint32(half * 12 + 8, part(inheritable), true);
  }
  const text = `{effective: ${names(effective)}, permitted: ${names(permitted)}, inheritable: ${names(inheritable)}}`;
  program.call(what, 'capset', [data({ bytes: header, text: '{version 3}' }), data({ bytes: sets, text })]);
}

/** Permitted, effective, inheritable, then ambient. What is `kept` on top goes with {@link dropTo}. */
export function setCapabilities(program: ProgramBuilder, sets: CapabilitySets, kept = 0n): void {
  program.call('forget to keep capabilities', 'prctl', [
    named(PR.SET_KEEPCAPS, 'PR_SET_KEEPCAPS'),
    0,
    0,
    0,
    0,
  ]);
  capset(program, 'set the capabilities', {
    ...sets,
    permitted: sets.permitted | kept,
    effective: sets.effective | kept,
  });
  const option = named(PR.CAP_AMBIENT, 'PR_CAP_AMBIENT');
  program.call('empty the ambient set', 'prctl', [
    option,
    named(PR_CAP_AMBIENT.CLEAR_ALL, 'PR_CAP_AMBIENT_CLEAR_ALL'),
    0,
    0,
    0,
  ]);
  for (let number = 0; sets.ambient >> BigInt(number) !== 0n; number++) {
    if (((sets.ambient >> BigInt(number)) & 1n) === 0n) continue;
    const name = CAPABILITIES[number] ?? `cap_${number}`;
    program.call(`raise ${name} in the ambient set`, 'prctl', [
      option,
      named(PR_CAP_AMBIENT.RAISE, 'PR_CAP_AMBIENT_RAISE'),
      named(number, name),
      0,
      0,
    ]);
  }
}

/** Gives up what was kept. */
export function dropTo(program: ProgramBuilder, sets: CapabilitySets): void {
  capset(program, 'drop the last capabilities', sets);
}
