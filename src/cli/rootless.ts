/**
 * Which commands are the container engine's, and which of those need namespaces of the user's own where the caller is not root. The table of
 * commands is too large for the program's entry, so that the few others are named here.
 */

/** Commands that have nothing to do with the engine's containers. */
export const OTHERS: readonly string[] =
  'boot doctor lab image oci plan assess serve kernel completion login logout version'.split(' ');

/** Right for all commands that there are; a word that is none may be taken for one. */
export function isEngineCommand(name: string | undefined): name is string {
  return name !== undefined && !OTHERS.includes(name);
}

/** `-h` of run and create is the host name. */
function asksForHelp(name: string, args: readonly string[]): boolean {
  return args.includes('--help') || (args.includes('-h') && name !== 'run' && name !== 'create');
}

/** `image build` is about the guests of machines, and needs no more than the user's own cache. */
export function needsNamespaces(
  name: string | undefined,
  args: readonly string[],
  uid = process.geteuid?.(),
): boolean {
  if (name === undefined || uid === 0 || asksForHelp(name, args)) return false;
  if (name === 'image') return !args.includes('build') && args.at(-1) !== 'image';
  return isEngineCommand(name);
}
