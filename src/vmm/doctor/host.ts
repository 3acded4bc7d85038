/**
 * The host as the checks see it: files below a root folder, so that the tests can show them other hosts. Reading never throws:
 * what cannot be read counts as absent, and `access` says why it is closed.
 */
import { accessSync, closeSync, constants, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** What is not a file of the host. */
export interface HostFacts {
  readonly uid: number;
  readonly user: string;
  /** The PATH to look for tools in. */
  readonly path: string;
}

export class Host {
  constructor(
    /** `/`, or a folder that stands for it. */
    readonly root: string,
    readonly facts: HostFacts,
  ) {}

  /** This machine. */
  static here(): Host {
    const uid = process.getuid?.() ?? 0;
    const user = uid === 0 ? 'root' : (process.env.USER ?? `${uid}`);
    return new Host('/', { uid, user, path: process.env.PATH ?? '' });
  }

  get isRoot(): boolean {
    return this.facts.uid === 0;
  }

  /** Where `path` of the host is for us. */
  at(path: string): string {
    return join(this.root, path);
  }

  exists(path: string): boolean {
    return existsSync(this.at(path));
  }

  /** The text of a file without its last newline; undefined where it cannot be read. */
  text(path: string): string | undefined {
    try {
      return readFileSync(this.at(path), 'utf8').trimEnd();
    } catch {
      return undefined;
    }
  }

  /** A file that holds a number; undefined where it does not. */
  number(path: string): number | undefined {
    const text = this.text(path);
    return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : undefined;
  }

  /** The names in a folder, sorted; empty where there is none. */
  list(path: string): string[] {
    try {
      return readdirSync(this.at(path)).sort();
    } catch {
      return [];
    }
  }

  writable(path: string): boolean {
    try {
      accessSync(this.at(path), constants.W_OK);
      return true;
    } catch {
      return false;
    }
  }

  /** errno name of opening a device for reading and writing; undefined when it opens. */
  openError(path: string): string | undefined {
    try {
      closeSync(openSync(this.at(path), constants.O_RDWR | constants.O_NONBLOCK));
      return undefined;
    } catch (error) {
      return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'EIO';
    }
  }

  /** The absolute path of a tool; the system folders count even where the user's PATH leaves them out. */
  tool(name: string): string | undefined {
    const folders = [...this.facts.path.split(delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
    return folders
      .filter((folder) => folder.startsWith('/'))
      .map((folder) => join(folder, name))
      .find((path) => {
        try {
          accessSync(this.at(path), constants.X_OK);
          return true;
        } catch {
          return false;
        }
      });
  }
}
