/**
 * How long work says what it is doing. Work takes a {@link Progress} and calls it with one short line a step; it never
 * prints by itself, so that a library user, a test and the CLI each decide what becomes of the line.
 */

/** Told one short, complete line without a newline, e.g. `unpacking linux-image-6.1.0-56-cloud-amd64`. */
export type Progress = (message: string) => void;

/** For callers that want no progress. */
export const silent: Progress = () => {};

/** The part of a `tty.WriteStream` that progress needs. */
export interface ProgressStream {
  isTTY?: boolean | undefined;
  columns?: number | undefined;
  write(text: string): unknown;
}

/** A progress display; disposing it takes an unfinished in-place line off the terminal. */
export interface ProgressDisplay extends Disposable {
  readonly report: Progress;
}

/**
 * Shows progress on `stream` (stderr by default, since stdout belongs to the guest or to the answer): on a terminal each
 * message replaces the one before; elsewhere each message is a line and immediate repetitions are left out.
 */
export function showProgress(stream: ProgressStream = process.stderr, label = 'tvmm'): ProgressDisplay {
  let last = '';
  let open = false;
  return {
    report(message) {
      if (message === last) return;
      last = message;
      const line = `${label}: ${message.replaceAll(/[\r\n]+/g, ' ')}`;
      if (stream.isTTY === true) {
        // A terminal that was never told its size has 0 columns.
        const width = (stream.columns || 80) - 1;
        stream.write(`\r\x1b[K${line.length > width ? `${line.slice(0, Math.max(0, width - 1))}…` : line}`);
        open = true;
      } else {
        stream.write(`${line}\n`);
      }
    },
    [Symbol.dispose]() {
      if (open) stream.write('\r\x1b[K');
      open = false;
    },
  };
}
