/** `--change` of commit and import: instructions of a Dockerfile that change an image's configuration. Anything that would run is refused. */
import { ImageFormatError } from './errors.js';

type Config = Readonly<Record<string, unknown>>;

function refuse(text: string, why: string): never {
  throw new ImageFormatError(`--change ${JSON.stringify(text)} ${why}`, {
    code: 'IMAGE_CHANGE',
    hint: 'CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR',
  });
}

/** The exec form, a JSON list of strings; undefined for what is no such list. */
function jsonWords(rest: string): string[] | undefined {
  if (!rest.startsWith('[')) return undefined;
  try {
    const value: unknown = JSON.parse(rest);
    if (!Array.isArray(value)) return undefined;
    const words = value.filter((word: unknown): word is string => typeof word === 'string');
    return words.length === value.length ? words : undefined;
  } catch {
    return undefined;
  }
}

const command = (rest: string): string[] => jsonWords(rest) ?? ['/bin/sh', '-c', rest];

/** `NAME=VALUE …` with quotes, or the old `NAME VALUE`. */
function pairs(text: string, rest: string): [string, string][] {
  if (!/^[^\s=]+=/.test(rest)) {
    const [name = '', value] = rest.split(/\s+(.*)/s);
    return value === undefined ? refuse(text, 'has no value') : [[name, value]];
  }
  return [...rest.matchAll(/([^\s=]+)=("(?:[^"\\]|\\.)*"|'[^']*'|[^\s]*)/g)].map(
    ([, name = '', raw = '']) => {
      const value = /^["']/.test(raw) ? raw.slice(1, -1).replaceAll('\\"', '"') : raw;
      return [name, value];
    },
  );
}

function listOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one: unknown): one is string => typeof one === 'string') : [];
}

function tableOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function change(config: Config, text: string): Config {
  const [, word = '', rest = ''] = /^\s*([A-Za-z]+)(?:\s+(.*?))?\s*$/s.exec(text) ?? [];
  if (rest === '') refuse(text, 'is no instruction');
  switch (word.toUpperCase()) {
    case 'CMD':
      return { ...config, Cmd: command(rest) };
    case 'ENTRYPOINT':
      // What stood for the old entrypoint's arguments means nothing to the new one.
      return { ...config, Entrypoint: command(rest), Cmd: undefined };
    case 'ENV': {
      const added = pairs(text, rest);
      const kept = listOf(config.Env).filter((one) => !added.some(([name]) => one.startsWith(`${name}=`)));
      return { ...config, Env: [...kept, ...added.map(([name, value]) => `${name}=${value}`)] };
    }
    case 'LABEL':
      return { ...config, Labels: { ...tableOf(config.Labels), ...Object.fromEntries(pairs(text, rest)) } };
    case 'EXPOSE': {
      const ports = rest.split(/\s+/).map((port) => (port.includes('/') ? port : `${port}/tcp`));
      const added = Object.fromEntries(ports.map((port) => [port, {}]));
      return { ...config, ExposedPorts: { ...tableOf(config.ExposedPorts), ...added } };
    }
    case 'VOLUME': {
      const folders = jsonWords(rest) ?? rest.split(/\s+/);
      const added = Object.fromEntries(folders.map((folder) => [folder, {}]));
      return { ...config, Volumes: { ...tableOf(config.Volumes), ...added } };
    }
    case 'USER':
      return { ...config, User: rest };
    case 'WORKDIR':
      return { ...config, WorkingDir: rest };
    case 'STOPSIGNAL':
      return { ...config, StopSignal: rest };
    case 'ONBUILD':
      return { ...config, OnBuild: [...listOf(config.OnBuild), rest] };
    default:
      return refuse(text, 'is no instruction that changes a configuration');
  }
}

/** @throws ImageFormatError */
export function applyChanges(config: Config, changes: readonly string[]): Config {
  return changes.reduce(change, config);
}
