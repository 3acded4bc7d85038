/**
 * `tvmm-oci` as the resident engine runs it: the same code with the caller's surroundings, what is printed collected. Commands that a process
 * of their own does better (they stream, read the caller's stdin or carry a terminal) are sent back to their caller.
 */
import { type Caller, ColdError } from '../container/serve/caller.js';
import { createFor, runFor } from '../container/serve/create.js';
import type { Client, Outcome } from '../container/serve/session.js';
import type { Request } from '../container/serve/wire.js';
import { type OciAction, type OciSurroundings, runOci } from './oci.js';
import { parseFlags } from './oci-flags.js';
import { createOptions } from './oci-lifecycle.js';
import { GLOBAL_FLAGS } from './oci-table.js';

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
];

function isResident(args: readonly string[]): boolean {
  try {
    return RESIDENT.includes(parseFlags(GLOBAL_FLAGS, args, { stopAfterArguments: 1 }).args[0]);
  } catch {
    // Its complaint is the same everywhere.
    return false;
  }
}

export async function runResident(request: Request, client: Client): Promise<Outcome | 'cold'> {
  if (!isResident(request.args)) return 'cold';
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
      run: orCold((call) =>
        runFor(caller, call.runtime.environment, call.id, {
          ...createOptions(call),
          detach: call.values.flag('detach'),
          keep: call.values.flag('keep'),
        }),
      ),
    },
  };
  const status = await runOci('tvmm-oci', request.args, surroundings);
  return cold ? 'cold' : { status, output, errors };
}
