/** `--security-opt`: seccomp=, no-new-privileges, apparmor=, label=. Unset, a container has the default profile and no new privileges. */
import { OptionError } from '../errors.js';

export interface SecurityOptions {
  /** `default`, `unconfined`, or a file that the caller reads. */
  readonly seccomp: 'default' | 'unconfined' | { readonly file: string };
  readonly noNewPrivileges: boolean;
  readonly apparmor: string | undefined;
  /** systempaths=unconfined: nothing masked, nothing read-only. */
  readonly maskPaths: boolean;
}

/** @throws OptionError */
export function parseSecurityOptions(values: readonly string[], privileged: boolean): SecurityOptions {
  let seccomp: SecurityOptions['seccomp'] = privileged ? 'unconfined' : 'default';
  let noNewPrivileges = !privileged;
  let apparmor: string | undefined;
  let maskPaths = !privileged;
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
        'there are seccomp=FILE|unconfined, no-new-privileges[=false], apparmor=PROFILE, systempaths=unconfined and label=disable',
      );
    }
  }
  return { seccomp, noNewPrivileges, apparmor, maskPaths };
}
