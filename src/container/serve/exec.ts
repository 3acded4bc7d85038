/** `exec` for a client that executes the plan itself: as runtime/exec.ts does it, without a launcher of our own. */

import { type ExecOptions, planExec } from '../runtime/exec.js';
import type { Runtime } from '../runtime/runtime.js';
import type { OciProcess, OciSpec } from '../spec/types.js';
import { type Caller, ColdError, descriptorsOf, withUmask } from './caller.js';
import { ended } from './create.js';
import { driveUntil } from './drive.js';

/** @returns the exit status: 0 when detached @throws whatever keeps it from running; ColdError */
export async function execFor(
  caller: Caller,
  runtime: Runtime,
  id: string,
  choose: (spec: OciSpec) => OciProcess,
  options: ExecOptions,
): Promise<number> {
  const { consoleSocket } = options;
  const { folder, record } = runtime.find(id);
  const handed = descriptorsOf(caller, options.preserveFds ?? 0);
  using planned = planExec(runtime.environment, folder, record, choose, options, {
    handed,
    // Behind the control socket.
    pidfdAt: 3 + handed.count + 1,
    console: (terminal) => {
      if (!terminal) return undefined;
      // Somebody has to carry what is typed and printed.
      if (consoleSocket === undefined) throw new ColdError();
      return { path: consoleSocket };
    },
    begin: () => caller.begin([]),
  });
  const detached = options.detach === true;
  using launch = caller.execute(planned.plan, [planned.pidfd.fd]);
  const { started } = planned;
  await driveUntil(launch, started.handle, () => !detached && started.ready);
  withUmask(caller, () => started.announce(options));
  if (detached) return 0;
  // Without a status the caller was killed.
  return (await ended(launch))?.status ?? 0;
}
