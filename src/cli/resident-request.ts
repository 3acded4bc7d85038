/** What the resident engine does with a client's request: each of tvmm's programs has its own way. */
import type { Client, Outcome } from '../container/serve/session.js';
import type { Request } from '../container/serve/wire.js';
import { runResident } from './resident.js';
import { runResidentEngine } from './resident-engine.js';

export function serveRequest(request: Request, client: Client): Promise<Outcome | 'cold'> {
  return request.program === 'tvmm' ? runResidentEngine(request, client) : runResident(request, client);
}
