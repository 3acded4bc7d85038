/** Detached mount trees (open_tree(2), mount_setattr(2), move_mount(2)): changed while nobody can reach them, then attached by descriptor. */
import type { Argument, Register } from '../plan/plan.js';
import { bits, data, named, type ProgramBuilder, register } from './builder.js';
import { AT, MOVE_MOUNT, O, OPEN_TREE_CLONE } from './numbers.js';

interface Options {
  readonly allow?: readonly string[];
  readonly hint?: string;
  readonly result?: Register;
}

type Reach = 'one' | 'recursive';

/** A copy of the mount tree at a path, bound nowhere yet. */
export function cloneTree(
  program: ProgramBuilder,
  what: string,
  folder: Argument,
  path: string,
  reach: Reach,
  result: Register,
  options: Options = {},
): void {
  const flags = [OPEN_TREE_CLONE | O.CLOEXEC, 'OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC'] as const;
  const deep = reach === 'recursive' ? AT.RECURSIVE : 0;
  const empty = path === '' ? AT.EMPTY_PATH : 0;
  const text = `${flags[1]}${deep === 0 ? '' : '|AT_RECURSIVE'}${empty === 0 ? '' : '|AT_EMPTY_PATH'}`;
  program.call(what, 'open_tree', [folder, data(path), named(flags[0] | deep | empty, text)], {
    ...options,
    result,
  });
}

export interface Attributes {
  /** MOUNT_ATTR_*. */
  readonly set?: { readonly value: number; readonly text: string };
  readonly clear?: { readonly value: number; readonly text: string };
  /** MS_SHARED and its kin, without MS_REC. */
  readonly propagation?: number;
  /** A user namespace whose maps the mounts take: MOUNT_ATTR_IDMAP is set. */
  readonly userNamespace?: Register;
}

const PROPAGATION_NAMES: ReadonlyMap<number, string> = new Map([
  [1 << 17, 'MS_UNBINDABLE'],
  [1 << 18, 'MS_PRIVATE'],
  [1 << 19, 'MS_SLAVE'],
  [1 << 20, 'MS_SHARED'],
]);
const MOUNT_ATTR_SIZE = 32;

/** Changes what one mount, or a tree of them, allows. */
export function setAttributes(
  program: ProgramBuilder,
  what: string,
  tree: Register,
  attributes: Attributes,
  reach: Reach = 'one',
  options: Options = {},
): void {
  const { set, clear, propagation, userNamespace } = attributes;
  const bytes = new Uint8Array(MOUNT_ATTR_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(set?.value ?? 0), true);
  view.setBigUint64(8, BigInt(clear?.value ?? 0), true);
  view.setBigUint64(16, BigInt(propagation ?? 0), true);
  const parts = [
    set === undefined ? '' : `attr_set: ${set.text}`,
    clear === undefined ? '' : `attr_clr: ${clear.text}`,
    propagation === undefined ? '' : `propagation: ${PROPAGATION_NAMES.get(propagation) ?? propagation}`,
    userNamespace === undefined ? '' : `userns_fd: ${userNamespace}`,
  ];
  const flags = reach === 'recursive' ? AT.EMPTY_PATH | AT.RECURSIVE : AT.EMPTY_PATH;
  program.call(
    what,
    'mount_setattr',
    [
      register(tree),
      data(''),
      named(flags, reach === 'recursive' ? 'AT_EMPTY_PATH|AT_RECURSIVE' : 'AT_EMPTY_PATH'),
      data({
        bytes,
        text: `{${parts.filter((part) => part !== '').join(', ')}}`,
        ...(userNamespace === undefined ? {} : { patches: [{ at: 24, size: 8, from: userNamespace }] }),
      }),
      MOUNT_ATTR_SIZE,
    ],
    options,
  );
}

/** Attaches a tree upon what a descriptor shows. */
export function attachTree(
  program: ProgramBuilder,
  what: string,
  tree: Register,
  target: Register,
  options: Options = {},
): void {
  program.call(
    what,
    'move_mount',
    [
      register(tree),
      data(''),
      register(target),
      data(''),
      bits('MOVE_MOUNT_', MOVE_MOUNT, 'F_EMPTY_PATH', 'T_EMPTY_PATH'),
    ],
    options,
  );
}

/** Writes a register's value into a path below /proc: `self/fd/7`. */
export function descriptorPath(
  program: ProgramBuilder,
  name: Register,
  prefix = 'self/fd/',
): { bytes: Uint8Array; text: string } {
  const path = { bytes: new Uint8Array(prefix.length + 12), text: `"${prefix}<${name}>"` };
  path.bytes.set(Buffer.from(prefix));
  program.add({
    op: 'decimal',
    what: 'write a descriptor',
    from: name,
    into: path,
    at: prefix.length,
    width: 11,
    align: 'left',
  });
  return path;
}
