/** Files of the host that containers' files are made from (resolv.conf, hosts): read when they are needed, absent where they are missing. */
import { readFileSync } from 'node:fs';

/** A file's text; undefined where it is missing or not readable. */
export function readHostFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
