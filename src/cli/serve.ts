/** `tvmm serve`: holds the container engine, so that a container's start does not wait for a start of Node. */
import type { Command } from 'commander';

const HELP = `
The commands tvmm and tvmm-oci (dist/firmware/tvmm and client, native programs) ask this process to do their work: same command lines, same
answers, same exit statuses, same containers on disk, and what they start are the caller's own descendants with the caller's streams. Without
an engine, or for what it does not do (downloads, tvmm logs -f, exec -t, machines …), they start Node.

The socket's folder belongs to the user alone. Other users, callers in other namespaces, with another umask or with TVMM_ variables that the
engine does not have, are not served by it; TVMM_ROOT and TVMM_RUN are the caller's own.

Examples:
  tvmm serve                              listen at /run/tvmm-serve/engine.sock, or below $XDG_RUNTIME_DIR without root
  tvmm serve --socket /run/own/my.sock    elsewhere: clients need TVMM_ENGINE=/run/own/my.sock
  podman --runtime "$PWD/dist/firmware/client" run …
`;

/** What a stop waits for: commands that are being done, not containers in the foreground. */
const PATIENCE_MS = 2000;

export function register(program: Command): void {
  program
    .command('serve')
    .description('Keep the container engine in memory, so that containers start sooner.')
    .option('--socket <path>', 'where to listen')
    .addHelpText('after', HELP)
    .action(async (options: { socket?: string }) => {
      const { setFlagsFromString } = await import('node:v8');
      // Every function is compiled at its first call: what runs once per container would be interpreted for hundreds of them.
      setFlagsFromString('--always-sparkplug');
      const { resolve } = await import('node:path');
      const { defaultSocket, ServeError, Server } = await import('../container/serve/server.js');
      const [{ serveRequest }, { warmUp }] = await Promise.all([
        import('./resident-request.js'),
        import('./resident-engine.js'),
      ]);
      const socket = options.socket === undefined ? defaultSocket() : resolve(options.socket);
      if (socket === undefined)
        throw new ServeError('there is no place for the socket', 'Set XDG_RUNTIME_DIR, or give --socket.');
      await using server = await Server.start(socket, serveRequest);
      await warmUp();
      process.stdout.write(`listening at ${socket}\n`);
      await new Promise<void>((stop) => {
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop());
      });
      await server.close(PATIENCE_MS);
    });
}
