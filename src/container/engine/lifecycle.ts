/**
 * The life of a container as a pure function: which state follows from which event, and why an event is refused. Restarting is an end
 * followed by a start; what is deleted knows no events.
 */

export const CONTAINER_STATES = ['created', 'running', 'paused', 'stopped', 'deleted'] as const;
export type ContainerState = (typeof CONTAINER_STATES)[number];

export const CONTAINER_EVENTS = [
  'start',
  'end',
  'pause',
  'unpause',
  'stop',
  'kill',
  'exec',
  'restart',
  'remove',
  'force-remove',
] as const;
export type ContainerEvent = (typeof CONTAINER_EVENTS)[number];

/** A state, or why not: `problem` completes "container web …". */
export type Transition =
  | { readonly next: ContainerState }
  | { readonly problem: string; readonly hint: string | undefined };

const to = (next: ContainerState): Transition => ({ next });
const no = (problem: string, hint?: string): Transition => ({ problem, hint });

const PAUSED = no('is paused', 'unpause it first');
const NOT_RUNNING = no('does not run', 'start it first');
const RUNS = no('runs', 'stop it first, or use -f');
const GONE = no('is deleted');

/** What a row does not name is refused as not running. */
const TABLE: Readonly<Record<ContainerState, Partial<Record<ContainerEvent, Transition>>>> = {
  created: {
    start: to('running'),
    restart: to('running'),
    // Killed while it was being started.
    end: to('stopped'),
    remove: to('deleted'),
    'force-remove': to('deleted'),
  },
  running: {
    start: no('already runs'),
    end: to('stopped'),
    pause: to('paused'),
    unpause: no('is not paused'),
    // A signal may be handled: only the end of init ends the container.
    stop: to('running'),
    kill: to('running'),
    exec: to('running'),
    restart: to('running'),
    remove: RUNS,
    'force-remove': to('deleted'),
  },
  paused: {
    start: PAUSED,
    end: to('stopped'),
    pause: no('is paused already'),
    unpause: to('running'),
    stop: to('paused'),
    kill: to('paused'),
    exec: PAUSED,
    restart: to('running'),
    remove: no('is paused', 'stop it first, or use -f'),
    'force-remove': to('deleted'),
  },
  stopped: {
    start: to('running'),
    restart: to('running'),
    // Whoever comes second to see the end.
    end: to('stopped'),
    remove: to('deleted'),
    'force-remove': to('deleted'),
  },
  deleted: Object.fromEntries(CONTAINER_EVENTS.map((event) => [event, GONE])),
};

/** The state after `event`, or the reason why it cannot be. */
export function transition(state: ContainerState, event: ContainerEvent): Transition {
  return TABLE[state][event] ?? NOT_RUNNING;
}
