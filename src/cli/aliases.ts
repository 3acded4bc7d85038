/**
 * Docker's other names for commands: `tvmm images` is `tvmm image ls`, `tvmm container start` is `tvmm start`. They are replaced before anything
 * is parsed, so that each command stands once, with one help.
 */
import { commandIndex } from './command-name.js';

/** Commands of one word that are ours in two. */
export const ALIASES: Readonly<Record<string, readonly string[]>> = {
  images: ['image', 'ls'],
  pull: ['image', 'pull'],
  push: ['image', 'push'],
  rmi: ['image', 'rm'],
  load: ['image', 'load'],
  save: ['image', 'save'],
  tag: ['image', 'tag'],
  history: ['image', 'history'],
  import: ['image', 'import'],
  info: ['system', 'info'],
};

/** What stands behind `container`, and is another word without it. */
const CONTAINER: Readonly<Record<string, string>> = { ls: 'ps', list: 'ps' };
/** What `container` has of its own. */
const CONTAINER_OWN = ['prune', 'exists'];

/** The same command line in our words. */
export function withoutAliases(args: readonly string[]): string[] {
  const at = commandIndex(args);
  const name = args[at];
  if (name === undefined) return [...args];
  const before = args.slice(0, at);
  const behind = args.slice(at + 1);
  if (Object.hasOwn(ALIASES, name)) return [...before, ...(ALIASES[name] ?? []), ...behind];
  const [second] = behind;
  if (name === 'system' && second === 'events') return [...before, ...behind];
  if (
    name !== 'container' ||
    second === undefined ||
    second.startsWith('-') ||
    CONTAINER_OWN.includes(second)
  )
    return [...args];
  return [...before, CONTAINER[second] ?? second, ...behind.slice(1)];
}
