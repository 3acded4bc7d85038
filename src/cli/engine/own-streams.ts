/** This process's own streams, terminal and signals joined to a container. */
import { type AttachEnd, follow, join } from '../../container/engine/attach.js';
import { MinderClient } from '../../container/engine/minder.js';
import type { Joined, JoinOptions } from './here.js';

/** Those that mean the program, not the terminal's job control. */
const PROXIED: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];

function streams({ interactive, outputs = ['stdout', 'stderr'] }: JoinOptions) {
  return {
    stdin: interactive ? process.stdin : undefined,
    stdout: outputs.includes('stdout') ? process.stdout : undefined,
    stderr: outputs.includes('stderr') ? process.stderr : undefined,
  };
}

export class OwnStreams implements Joined {
  private constructor(
    readonly client: MinderClient,
    readonly options: JoinOptions,
  ) {}

  /** @param folder of the container @throws MinderError when there is no minder */
  static async attach(folder: string, options: JoinOptions): Promise<OwnStreams> {
    const client = await MinderClient.connect(folder);
    await follow(client, streams(options), { ownsStdin: options.ownsInput, cleansUp: options.cleansUp });
    return new OwnStreams(client, options);
  }

  async join(onSignal: (signal: NodeJS.Signals) => void): Promise<AttachEnd> {
    const { interactive, tty, signals } = this.options;
    // In a terminal's raw mode Ctrl-C is a byte; a signal then comes from somewhere else and is meant for us.
    const proxied = signals && !tty ? PROXIED : [];
    for (const signal of proxied) process.on(signal, onSignal);
    try {
      return await join(this.client, streams(this.options), tty, this.options.detachKeys);
    } finally {
      for (const signal of proxied) process.off(signal, onSignal);
      if (interactive) process.stdin.unref?.();
    }
  }

  done(): Promise<void> {
    return this.client.done();
  }

  [Symbol.dispose](): void {
    this.client[Symbol.dispose]();
  }
}
