/** `tvmm run`: creates a container, starts it, and stays with it unless told otherwise. Its exit status is ours. */
import type { Command } from 'commander';
import { UsageError } from '../usage-error.js';
import { collect, engine, withStartStatus } from './common.js';
import { addCreateOptions } from './create-flags.js';
import type { CreateFlags } from './create-options.js';
import { exitWith, printOut } from './here.js';
import { addJoinOptions, type JoinFlags, joinWishes } from './join-flags.js';
import { makeContainer } from './make.js';

const HELP = `
Without -d the container's output is ours, its exit status too, and Ctrl-C goes to it. With -it it has a terminal: Ctrl-P Ctrl-Q leaves
it running. Containers have no new privileges, few capabilities, a seccomp profile, namespaces of their own and at most 4096 processes;
each of these has an option that opens it.

Examples:
  tvmm run -it --rm debian                             a shell, gone when it ends
  tvmm run --rm debian cat /etc/os-release             one command
  tvmm run -d --name web -p 8080:80 nginx              a server in the background
  tvmm run --rm -v "$PWD:/src" -w /src -u 1000 node npm test
  tvmm run -d --restart on-failure:3 -m 256m --cpus 0.5 worker
  tvmm run --rm --rootfs ./rootfs sh -c 'echo hello'   from a plain folder, without an image
  tvmm run --rm --read-only --tmpfs /tmp --cap-drop all --network none --userns private debian id

Exit status: the container's own; 125 when tvmm fails, 126 when the command cannot be run, 127 when it is not there.
`;

export function register(program: Command): void {
  addJoinOptions(addCreateOptions(program.command('run')))
    .description('Create a container and start it.')
    .usage('[options] IMAGE [COMMAND…]')
    .option('-a, --attach <stream>', 'join only stdin, stdout or stderr', collect)
    .option('-d, --detach', 'run it in the background and print its id')
    .addHelpText('after', HELP)
    .action(
      (
        image: string | undefined,
        words: string[],
        flags: CreateFlags & JoinFlags & { detach?: boolean; debug?: boolean },
      ) =>
        withStartStatus(async () => {
          const { detach, debug: _debug, attach, detachKeys, sigProxy, ...options } = flags;
          if (detach === true && attach !== undefined)
            throw new UsageError('--attach and --detach exclude each other');
          const wishes = joinWishes({ attach, detachKeys, sigProxy });
          const context = await engine();
          const { runContainer, startDetached } = await import('./foreground.js');
          if (detach !== true) {
            const make = () => makeContainer(context, image, words, options);
            exitWith(await runContainer(context, options, make, wishes));
            return;
          }
          const record = await makeContainer(context, image, words, options);
          await startDetached(context, record);
          printOut(`${record.id}\n`);
        }, flags.debug),
    );
}
