/** Does what a client's launch asks for; other clients are served meanwhile. */
import type { LaunchEvent } from '../launch/protocol.js';
import type { Handler } from '../runtime/drive.js';
import type { RemoteLaunch } from './remote-launch.js';

/**
 * Handles events until `done` says that it is enough, or nobody of the launch is left who could tell more.
 *
 * @throws LaunchError, LauncherDiedError, and what the handler throws
 */
export async function driveUntil(
  launch: RemoteLaunch,
  handle: Handler,
  done: (event: LaunchEvent) => boolean,
): Promise<void> {
  for (;;) {
    const event = await launch.next();
    if (event.kind === 'closed') return;
    if (event.kind === 'failed') throw event.error;
    if (event.kind === 'sent') {
      const answer = await handle(event.tag, event.value);
      if (answer !== undefined) launch.answer(event.tag, answer);
    }
    if (done(event)) return;
  }
}
