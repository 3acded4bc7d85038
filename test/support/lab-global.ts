/**
 * The keeper of the shared lab, vitest's global set-up: one L1 for a whole `vitest run`, booted when the first test file asks
 * for it and ended with the run. Test files reach it through `sharedLab()` (lab.ts). An L1 that died is replaced at the
 * next request, so that one test's misfortune is not everybody's.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import type { TestProject } from 'vitest/node';
import { LabTimeoutError } from '../../src/lab/errors.js';
import { Lab } from '../../src/lab/lab.js';
import { TvmmError } from '../../src/sys/errors.js';
import { type LabFailure, type LabRequest, onMessage, send } from './lab-protocol.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** The keeper's socket. */
    labSocket: string;
  }
}

/** Enough for the guests of most tests; pages that nobody touches cost nothing. */
const SHARED_MEMORY_MIB = 4096;

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Abstract (unix(7)): it ends with this process, and leaves no file.
  const path = `\0tvmm-test-lab-${process.pid}-${randomBytes(8).toString('hex')}`;
  const sockets = new Set<Socket>();
  let lab: Promise<Lab> | undefined;

  const ensure = (): Promise<Lab> => {
    if (lab === undefined) {
      const starting = Lab.start({ memoryMiB: SHARED_MEMORY_MIB });
      lab = starting;
      const forget = () => {
        if (lab === starting) lab = undefined;
      };
      starting.then((one) => one.ended.then(forget), forget);
    }
    return lab;
  };

  const answer = async (socket: Socket, request: LabRequest): Promise<void> => {
    const { id, argv, stdin, ...options } = request;
    try {
      const here = await ensure();
      const { exchange } = here;
      const input = stdin === undefined ? undefined : Buffer.from(stdin, 'base64');
      const result = argv.length === 0 ? {} : await here.exec(argv, { ...options, stdin: input });
      send(socket, { id, exchange, ...result });
    } catch (error) {
      send(socket, { id, failure: takeApart(error) });
    }
  };

  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    onMessage<LabRequest>(socket, (request) => void answer(socket, request));
  });
  await new Promise<void>((listening) => server.listen(path, listening));
  project.provide('labSocket', path);

  return async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((closed) => server.close(closed));
    const last = await lab?.catch(() => undefined);
    await last?.[Symbol.asyncDispose]();
  };
}

function takeApart(error: unknown): LabFailure {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message } = error;
  const { code, hint } = error instanceof TvmmError ? error : {};
  const { stdout, stderr } = error instanceof LabTimeoutError ? error : {};
  return { name, message, code, hint, stdout, stderr };
}
