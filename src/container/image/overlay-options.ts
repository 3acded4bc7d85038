/**
 * The options of an overlay mount, as mount(2) takes them.
 */

/** Overlayfs reads `:` and `,` and `\` in paths as its own. */
function escapePath(path: string): string {
  return path.replace(/[\\:,]/g, '\\$&');
}

/** The data of an overlay mount (Documentation/filesystems/overlayfs.rst). */
export function overlayOptions(parts: {
  readonly lower: readonly string[];
  readonly upper: string;
  readonly work: string;
  readonly userXattr: boolean;
}): string {
  const lower = parts.lower.map(escapePath).join(':');
  // The image's device nodes and attributes count; index and metacopy stay off whatever the module's defaults are, for portable layers.
  const extra = parts.userXattr ? ',userxattr' : '';
  return `lowerdir=${lower},upperdir=${escapePath(parts.upper)},workdir=${escapePath(parts.work)}${extra}`;
}
