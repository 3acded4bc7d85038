/** `--security-opt`: seccomp=, no-new-privileges, apparmor=, label=. Unset, a container has the default profile and no new privileges. */
import { OptionError } from '../errors.js';

export interface SecurityOptions {
  /** `default`, `unconfined`, or a file that the caller reads. */
  readonly seccomp: 'default' | 'unconfined' | { readonly file: string };
  readonly noNewPrivileges: boolean;
  readonly apparmor: string | undefined;
  /** systempaths=unconfined: nothing masked, nothing read-only. */
  readonly maskPaths: boolean;
  /** Absolute paths that are masked besides, and that are not; the latter may end with `/*`. */
  readonly mask: readonly string[];
  readonly unmask: readonly string[];
}

/** `/one:/two` @throws OptionError */
function paths(name: string, setting: string): string[] {
  const found = setting.split(':');
  for (const path of found) {
    if (!path.startsWith('/') || path.split('/').includes('..') || path.includes('\0'))
      throw new OptionError('--security-opt', `${name}: ${JSON.stringify(path)} is no absolute path`);
  }
  return found;
}

/** @throws OptionError */
export function parseSecurityOptions(values: readonly string[], privileged: boolean): SecurityOptions {
  let seccomp: SecurityOptions['seccomp'] = privileged ? 'unconfined' : 'default';
  let noNewPrivileges = !privileged;
  let apparmor: string | undefined;
  let maskPaths = !privileged;
  const mask: string[] = [];
  const unmask: string[] = [];
  for (const value of values) {
    const [, name = value, setting] = /^([^=:]+)[=:](.*)$/s.exec(value) ?? [];
    if (name === 'seccomp' && setting !== undefined && setting !== '') {
      seccomp =
        setting === 'unconfined' || setting === 'default'
          ? setting
          : setting === 'builtin'
            ? 'default'
            : { file: setting };
    } else if (name === 'no-new-privileges' && (setting === undefined || /^(true|false)$/.test(setting)))
      noNewPrivileges = setting !== 'false';
    else if (name === 'apparmor' && setting !== undefined) apparmor = setting;
    else if (name === 'systempaths' && setting === 'unconfined') maskPaths = false;
    else if (name === 'unmask' && setting === 'ALL') maskPaths = false;
    else if (name === 'unmask' && setting !== undefined) unmask.push(...paths(name, setting));
    else if (name === 'mask' && setting !== undefined) mask.push(...paths(name, setting));
    // SELinux off is what a container without a label is.
    else if (name === 'label' && setting === 'disable') continue;
    else if (name === 'label')
      throw new OptionError(
        '--security-opt',
        'label: containers have no SELinux labels here',
        'leave it out',
      );
    else {
      throw new OptionError(
        '--security-opt',
        `${JSON.stringify(value)} means nothing`,
        'there are seccomp=FILE|unconfined, no-new-privileges[=false], apparmor=PROFILE, systempaths=unconfined, mask=PATH, unmask=PATH|ALL and label=disable',
      );
    }
  }
  return { seccomp, noNewPrivileges, apparmor, maskPaths, mask, unmask };
}
