/**
 * Which proxy a request takes: HTTPS_PROXY, HTTP_PROXY, NO_PROXY and their lower-case twins, read as curl and Go read them. Requests to
 * this machine never take one. HTTP_PROXY in upper case is ignored for CGI's sake (REQUEST_METHOD is set there).
 */
import { RegistryError } from '../errors.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** Whether a host is this machine. */
export function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  return (
    host === 'localhost' ||
    host.endsWith('.localhost') ||
    host === '::1' ||
    /^127(?:\.\d{1,3}){3}$/.test(host)
  );
}

function isExcluded(url: URL, list: string): boolean {
  const host = url.hostname.toLowerCase();
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  return list
    .toLowerCase()
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '')
    .some((one) => {
      if (one === '*') return true;
      const match = /^(.*?)(?::(\d+))?$/.exec(one);
      const name = (match?.[1] ?? '').replace(/^\*?\./, '');
      if (name === '' || (match?.[2] !== undefined && match[2] !== port)) return false;
      return host === name || host.endsWith(`.${name}`);
    });
}

/** The proxy for a URL, or undefined. @throws RegistryError when the variable is no URL of an HTTP proxy */
export function proxyFor(url: URL, environment: Environment): URL | undefined {
  if (isLoopback(url.hostname)) return undefined;
  const get = (name: string): string => environment[name.toLowerCase()] ?? environment[name] ?? '';
  if (isExcluded(url, get('NO_PROXY'))) return undefined;
  const isCgi = environment.REQUEST_METHOD !== undefined;
  const name = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const value = name === 'HTTP_PROXY' && isCgi ? (environment.http_proxy ?? '') : get(name);
  const chosen = value === '' ? get('ALL_PROXY') : value;
  if (chosen === '') return undefined;
  const proxy = URL.canParse(chosen) && /^https?:/.test(chosen) ? new URL(chosen) : undefined;
  const bare =
    proxy ??
    (URL.canParse(`http://${chosen}`) && !chosen.includes('://') ? new URL(`http://${chosen}`) : undefined);
  if (bare === undefined) {
    throw new RegistryError(`the proxy of ${name} is not the URL of an HTTP proxy`, {
      code: 'PROXY_INVALID',
      hint: `Set ${name}=http://host:port, or unset it.`,
    });
  }
  return bare;
}
