/** The container commands for the command table: loaded one by one, like all others. */
import type { CommandEntry } from '../commands.js';

export const ENGINE_COMMANDS: readonly Omit<CommandEntry, 'group'>[] = [
  { name: 'run', summary: 'create a container and start it', load: () => import('./run.js') },
  { name: 'create', summary: 'create a container without starting it', load: () => import('./create.js') },
  { name: 'start', summary: 'start containers', load: () => import('./start.js') },
  { name: 'stop', summary: 'stop containers', load: () => import('./stop.js') },
  { name: 'restart', summary: 'stop containers and start them again', load: () => import('./restart.js') },
  { name: 'rm', summary: 'remove containers', load: () => import('./rm.js') },
  { name: 'ps', summary: 'list containers', load: () => import('./ps.js') },
  { name: 'exec', summary: 'run another command in a container', load: () => import('./exec.js') },
  { name: 'attach', summary: 'join our terminal to a container', load: () => import('./attach.js') },
  { name: 'logs', summary: 'show what a container has printed', load: () => import('./logs.js') },
  { name: 'cp', summary: 'copy files into and out of containers', load: () => import('./cp.js') },
  { name: 'inspect', summary: 'show everything about containers', load: () => import('./inspect.js') },
  { name: 'stats', summary: 'show what containers use', load: () => import('./stats.js') },
  { name: 'top', summary: 'list the processes of a container', load: () => import('./top.js') },
  { name: 'events', summary: 'show what happens to containers', load: () => import('./events.js') },
  { name: 'wait', summary: 'wait until containers have ended', load: () => import('./wait.js') },
  { name: 'kill', summary: 'send a signal to containers', load: () => import('./kill.js') },
  { name: 'pause', summary: 'hold all processes of containers', load: () => import('./pause.js') },
  { name: 'unpause', summary: 'let paused containers go on', load: () => import('./unpause.js') },
  { name: 'update', summary: 'change limits of containers', load: () => import('./update.js') },
  { name: 'volume', summary: 'folders that outlive containers', load: () => import('./volume.js') },
  { name: 'network', summary: 'the networks that containers join', load: () => import('./network.js') },
  { name: 'pod', summary: 'containers that share a network', load: () => import('./pod.js') },
];
