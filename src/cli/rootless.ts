/**
 * Which commands are the container engine's, and which of those need namespaces of the user's own where the caller is not root. The names stand
 * here because the program's entry is small.
 */

/** Those of engine/table.ts. */
export const ENGINE_NAMES: readonly string[] =
  'run create start stop restart rm ps exec attach logs cp inspect stats top events wait kill pause unpause update pod network volume'.split(
    ' ',
  );

export function isEngineCommand(name: string | undefined): name is string {
  return name !== undefined && ENGINE_NAMES.includes(name);
}

/** `image build` is about the guests of machines, and needs no more than the user's own cache. */
export function needsNamespaces(
  name: string | undefined,
  args: readonly string[],
  uid = process.geteuid?.(),
): boolean {
  if (name === undefined || uid === 0 || args.some((arg) => arg === '--help' || arg === '-h')) return false;
  if (name === 'image') return !args.includes('build') && args.at(-1) !== 'image';
  return isEngineCommand(name);
}
