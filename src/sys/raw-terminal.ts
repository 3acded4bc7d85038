/**
 * Raw mode for a terminal that passes everything through in both directions (termios(3), cfmakeraw). Node's own raw mode keeps
 * translating newlines on output, which garbles full-screen programs of a guest.
 */
import { cfmakeraw, check, tcgetattr, tcsetattr } from './libc.js';

/** struct termios of glibc has 60 bytes on x86-64. */
const TERMIOS_SIZE = 60;
const TCSANOW = 0;

/** c_oflag of struct termios, and OPOST in it. */
const OUTPUT_FLAGS = 4;
const OPOST = 1;

/**
 * Makes the terminal raw; disposing gives it back as it was.
 *
 * @param keepOutput newlines are still translated, for output that has not been through another terminal's translation
 * @throws SystemError (ENOTTY)
 */
export function rawTerminal(fd: number, { keepOutput = false } = {}): Disposable {
  const before = new Uint8Array(TERMIOS_SIZE);
  check(tcgetattr(fd, before), 'tcgetattr', `fd ${fd}`);
  const raw = before.slice();
  cfmakeraw(raw);
  if (keepOutput && raw[OUTPUT_FLAGS] !== undefined) raw[OUTPUT_FLAGS] |= (before[OUTPUT_FLAGS] ?? 0) & OPOST;
  check(tcsetattr(fd, TCSANOW, raw), 'tcsetattr', `fd ${fd}`);
  return {
    [Symbol.dispose]() {
      tcsetattr(fd, TCSANOW, before);
    },
  };
}
