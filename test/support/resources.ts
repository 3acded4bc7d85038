/** What this process holds: to prove that nothing is left. */
import { readdirSync, readlinkSync } from 'node:fs';

/** Descriptors that KVM, eventfds and pipes stand behind, and the number of threads. */
export function held(): { descriptors: string[]; threads: number } {
  const descriptors = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`];
    } catch {
      // The listing's own descriptor.
      return [];
    }
  });
  return { descriptors: descriptors.filter((text) => !text.includes('/proc/')).sort(), threads: threads() };
}

function threads(): number {
  return readdirSync('/proc/self/task').length;
}

/** Waits until the number of threads is back at `count`: a thread that was joined may still be in /proc for a moment. */
export async function threadsBackAt(count: number): Promise<number> {
  for (let tries = 0; tries < 200 && threads() > count; tries++)
    await new Promise((next) => setTimeout(next, 10));
  return threads();
}
