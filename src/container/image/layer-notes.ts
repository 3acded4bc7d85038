/**
 * What unpacking a layer has to remember until its last entry, within bounds: a layer that packs to a few MB can have gigabytes of names,
 * and one that replaces its own folders without an end would keep us looking through all that are known.
 */
import { LayerError } from './errors.js';

/** Folders that give way make us look through all that are known: a layer that does nothing else would keep us busy for days. */
const MAX_LOOKS = 4_000_000;

/** What a name costs beside its own bytes is a guess at V8's. */
const MAX_KEPT = 512 * 2 ** 20;
const KEPT_NAME = 200;

export interface FolderMeta {
  readonly mode: number;
  readonly mtime: { readonly seconds: number; readonly nanoseconds: number };
}

export class LayerNotes {
  /** Modes and times of folders: set at the end, since entries change them and need them writable. */
  readonly #folders = new Map<string, FolderMeta>();
  readonly #made = new Set<string>();
  readonly #whiteouts = new Set<string>();
  readonly #max: number;
  #looks = 0;
  #kept = 0;

  /** @param max most bytes of names that are kept */
  constructor(max = MAX_KEPT) {
    this.#max = max;
  }

  /** The layer has made this name. @throws LayerError when there are too many */
  noteMade(path: string): void {
    if (this.#made.has(path)) return;
    this.#keep(path);
    this.#made.add(path);
  }

  hasMade(path: string): boolean {
    return this.#made.has(path);
  }

  /** @throws LayerError */
  noteWhiteout(path: string): void {
    this.#keep(path);
    this.#whiteouts.add(path);
  }

  hasWhiteout(path: string): boolean {
    return this.#whiteouts.has(path);
  }

  /** @throws LayerError */
  noteFolder(path: string, meta: FolderMeta): void {
    if (!this.#folders.has(path)) this.#keep(path);
    this.#folders.set(path, meta);
  }

  /** The name gives way to another entry, and with a folder all below it. @throws LayerError */
  forget(path: string): void {
    this.#whiteouts.delete(path);
    if (!this.#folders.has(path)) return;
    this.#looks += this.#folders.size;
    if (this.#looks > MAX_LOOKS)
      throw new LayerError('the layer replaces its own folders too often', { code: 'LAYER_TOO_LARGE' });
    for (const known of this.#folders.keys()) {
      if (known === path || known.startsWith(`${path}/`)) this.#folders.delete(known);
    }
  }

  /** The folders, deepest first, and no longer kept. */
  takeFolders(): [path: string, meta: FolderMeta][] {
    const folders = [...this.#folders].reverse();
    this.#folders.clear();
    return folders;
  }

  #keep(path: string): void {
    this.#kept += path.length + KEPT_NAME;
    if (this.#kept > this.#max)
      throw new LayerError('the names in the layer are too many and too long', { code: 'LAYER_TOO_LARGE' });
  }
}
