/**
 * `tvmm-oci` as the resident engine runs it: the same code with the caller's surroundings, what is printed collected. Commands that a process
 * of their own does better (they stream, read the caller's stdin or carry a terminal) are sent back to their caller.
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Caller, ColdError } from '../container/serve/caller.js';
import { createFor, runFor } from '../container/serve/create.js';
import { execFor } from '../container/serve/exec.js';
import type { Client, Outcome } from '../container/serve/session.js';
import type { Request } from '../container/serve/wire.js';
import { type OciAction, type OciCall, type OciSurroundings, runOci } from './oci.js';
import { chooser, execOptions } from './oci-exec.js';
import { parseFlags } from './oci-flags.js';
import { createOptions, notifySocketOf } from './oci-lifecycle.js';
import { SHOW } from './oci-show.js';
import { GLOBAL_FLAGS } from './oci-table.js';
import { update } from './oci-update.js';

const RESIDENT: readonly (string | undefined)[] = [
  'create',
  'start',
  'run',
  'state',
  'kill',
  'delete',
  'list',
  'pause',
  'resume',
  'features',
  'exec',
  'ps',
  'events',
  'update',
];

function isResident(args: readonly string[]): boolean {
  try {
    const { values, args: rest } = parseFlags(GLOBAL_FLAGS, args, { stopAfterArguments: 1 });
    return values.flag('version') || RESIDENT.includes(rest[0]);
  } catch {
    // Its complaint is the same everywhere.
    return false;
  }
}

/** What is another file for another process, or what reading may have to wait for, its caller reads itself. @throws ColdError */
function refuseOwnFile(path: string | undefined, { surroundings: { cwd } }: OciCall): void {
  if (path === undefined) return;
  const whole = resolve(cwd, path);
  const found = statSync(whole, { throwIfNoEntry: false });
  if (path === '-' || whole.startsWith('/proc/') || whole.startsWith('/dev/') || found?.isFile() === false)
    throw new ColdError();
}

export async function runResident(request: Request, client: Client): Promise<Outcome | 'cold'> {
  if (!isResident(request.args)) return 'cold';
  // A service manager listens to the service's own processes alone, and one of them is to wait.
  if (notifySocketOf(request.variables) !== undefined) return 'cold';
  let output = '';
  let errors = '';
  let cold = false;
  const caller: Caller = {
    ...client,
    execute: (plan, descriptors = []) => {
      const launch = client.execute(plan, descriptors, errors);
      errors = '';
      return launch;
    },
  };
  const orCold =
    (action: OciAction): OciAction =>
    async (call) => {
      try {
        return await action(call);
      } catch (error) {
        if (!(error instanceof ColdError)) throw error;
        cold = true;
        return 0;
      }
    };
  const surroundings: OciSurroundings = {
    cwd: request.cwd,
    variables: request.variables,
    caller: client.pid,
    print: (text) => {
      output += text;
      return 0;
    },
    tell: (text) => {
      errors += text;
    },
    actions: {
      create: orCold(async (call) => {
        await createFor(caller, call.runtime.environment, call.id, createOptions(call));
        return 0;
      }),
      exec: orCold((call) => {
        refuseOwnFile(call.values.words('process'), call);
        return execFor(caller, call.runtime, call.id, chooser(call), execOptions(call));
      }),
      update: orCold((call) => {
        refuseOwnFile(call.values.words('resources'), call);
        return update(call);
      }),
      events: orCold((call) => {
        // As long as the container lives, what is printed goes to the caller at once.
        if (!call.values.flag('stats')) throw new ColdError();
        return SHOW.events(call);
      }),
      run: orCold((call) =>
        runFor(caller, call.runtime.environment, call.id, {
          ...createOptions(call),
          detach: call.values.flag('detach'),
          keep: call.values.flag('keep'),
          // What is logged at the end is the caller's to print, unless it goes into a file.
          silent: !call.log.options.debug || call.log.options.file !== undefined,
        }),
      ),
    },
  };
  const status = await runOci('tvmm-oci', request.args, surroundings);
  return cold ? 'cold' : { status, output, errors };
}
