/** The size of a terminal (ioctl_tty(2), TIOCGWINSZ). */
import { ioctlPointer } from '../../sys/libc.js';

/** asm-generic/ioctls.h; struct winsize is four u16: rows, columns, pixels. */
const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;

export interface TerminalSize {
  /** Rows. */
  readonly height: number;
  /** Columns. */
  readonly width: number;
}

/** That of the first of our streams that is a terminal; undefined where there is none, or it has no size. */
export function ownTerminalSize(): TerminalSize | undefined {
  const size = new Uint16Array(4);
  for (const fd of [0, 1, 2]) {
    if (ioctlPointer(fd, TIOCGWINSZ, size) !== 0) continue;
    const [height = 0, width = 0] = size;
    return height === 0 || width === 0 ? undefined : { height, width };
  }
  return undefined;
}

/** Gives a terminal's master side a size; a terminal that is gone is none to size. */
export function setTerminalSize(master: number, { height, width }: TerminalSize): void {
  ioctlPointer(master, TIOCSWINSZ, Uint16Array.of(height, width, 0, 0));
}
