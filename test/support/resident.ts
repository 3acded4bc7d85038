/** A resident engine (`tvmm serve`) in a process of its own, with a socket of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CLI } from './engine.js';

export class ResidentEngine {
  private constructor(
    readonly child: ChildProcess,
    readonly folder: string,
    readonly socket: string,
  ) {}

  static async start(): Promise<ResidentEngine> {
    const folder = mkdtempSync(join(tmpdir(), 'tvmm-resident-'));
    const socket = join(folder, 'engine/engine.sock');
    const child = spawn(process.execPath, [CLI, 'serve', '--socket', socket], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    // It says where it listens.
    await once(child.stdout, 'data');
    return new ResidentEngine(child, folder, socket);
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  /** Ends it, by SIGTERM as a rule. */
  async close(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill(signal);
      await once(this.child, 'exit');
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
