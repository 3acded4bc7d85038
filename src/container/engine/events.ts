/**
 * The engine's journal: one JSON line an event in <root>/engine/events, by whichever process made it happen. A line of this length is appended
 * whole (write(2) with O_APPEND). The journal keeps the last two files of a megabyte.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { EnginePaths } from './paths.js';
import type { ContainerRecord } from './record.js';
import { object, optional, parseDocument, table, text } from './shape.js';

const EVENT_ACTIONS = [
  'create',
  'start',
  'die',
  'oom',
  'kill',
  'stop',
  'pause',
  'unpause',
  'restart',
  'update',
  'rename',
  'commit',
  'export',
  'exec',
  'connect',
  'disconnect',
  'health_status',
  'destroy',
] as const;
export type EventAction = (typeof EVENT_ACTIONS)[number];

const eventShape = object({
  time: text,
  action: text,
  id: text,
  name: text,
  image: optional(text),
  attributes: optional(table(text)),
});

export interface EngineEvent {
  readonly time: string;
  readonly action: string;
  readonly id: string;
  readonly name: string;
  readonly image?: string | undefined;
  readonly attributes?: Readonly<Record<string, string>> | undefined;
}

const MAX_JOURNAL = 2 ** 20;

function journalFile(paths: EnginePaths): string {
  return paths.events;
}

/** Notes an event. A journal that cannot be written stops nobody. */
export function note(
  paths: EnginePaths,
  action: EventAction,
  record: Pick<ContainerRecord, 'id' | 'name' | 'options'>,
  attributes?: Readonly<Record<string, string>>,
): void {
  const event: EngineEvent = {
    time: new Date().toISOString(),
    action,
    id: record.id,
    name: record.name,
    image: record.options.image,
    attributes,
  };
  const file = journalFile(paths);
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    if (existsSync(file) && statSync(file).size > MAX_JOURNAL) renameSync(file, `${file}.1`);
    appendFileSync(file, `${JSON.stringify(event)}\n`, { mode: 0o600 });
  } catch {
    // A full disk: the container matters more.
  }
}

/** The events of a text of the journal; lines that are none are passed over. */
function parseEvents(journal: string): EngineEvent[] {
  return journal.split('\n').flatMap((line) => {
    if (line === '') return [];
    try {
      return [parseDocument(eventShape, line, 'event')];
    } catch {
      return [];
    }
  });
}

/** All that the journal still has, the oldest first. */
export function pastEvents(paths: EnginePaths): EngineEvent[] {
  const file = journalFile(paths);
  return [`${file}.1`, file].flatMap((one) => {
    try {
      return parseEvents(readFileSync(one, 'utf8'));
    } catch {
      return [];
    }
  });
}
