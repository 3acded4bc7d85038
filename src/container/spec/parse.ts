/**
 * config.json to {@link OciSpec} (config.md). Strict about what it understands: wrong types, numbers out of range, NUL characters, relative
 * paths, contradictions are all told at once; unknown members are ignored, as the specification demands. Looks at nothing but the text.
 */

import type { OciResources } from '../cgroup/resources.js';
import { parseExactJson } from '../seccomp/exact-json.js';
import { checkSpec } from './check.js';
import { SpecError, type SpecProblem } from './errors.js';
import { defined, Field } from './field.js';
import { parseLinux } from './parse-linux.js';
import { parseHooks, parseMounts } from './parse-mounts.js';
import { parseProcess as parseProcessField } from './parse-process.js';
import { parseResources as parseResourcesField } from './parse-resources.js';
import type { OciProcess, OciSpec } from './types.js';

/** Bounds of a document: generous for people, small for a machine. */
const MAX_SPEC_BYTES = 16 * 2 ** 20;
export const MAX_SPEC_DEPTH = 64;
const MAX_SPEC_VALUES = 2_000_000;

/** SemVer 2.0.0, major version apart. */
const SEMVER =
  /^(0|[1-9]\d{0,8})\.(?:0|[1-9]\d{0,8})\.(?:0|[1-9]\d{0,8})(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/;

/**
 * Parses config.json.
 * @param json the text, or what {@link parseExactJson} made of it
 * @throws SpecError with every problem that was found
 */
export function parseSpec(json: unknown): OciSpec {
  return parseDocument(json, (root) => {
    checkVersion(root.member('ociVersion'));
    if (root.member('root').absent) root.member('root').problem('is missing');
    const spec: OciSpec = defined({
      ociVersion: root.member('ociVersion').text() ?? '',
      process: root.member('process').object(parseProcessField),
      root: root.member('root').object((field) =>
        defined({
          path: field.member('path').requiredText(),
          readonly: field.member('readonly').boolean(),
        }),
      ) ?? { path: '' },
      hostname: hostName(root.member('hostname')),
      domainname: hostName(root.member('domainname')),
      mounts: parseMounts(root.member('mounts')),
      hooks: root.member('hooks').object(parseHooks),
      annotations: root.member('annotations').map((field, key) => {
        if (key === '') field.problem('has an empty name');
        return field.text();
      }),
      linux: root.member('linux').object(parseLinux),
    });
    checkSpec(spec, root);
    return spec;
  });
}

/** Parses the document that `exec --process` takes: the `process` object alone. @throws SpecError */
export function parseProcess(json: unknown): OciProcess {
  return parseDocument(json, parseProcessField);
}

/** Parses the document that `update --resources` takes: the `resources` object alone. @throws SpecError */
export function parseResources(json: unknown): OciResources {
  return parseDocument(json, parseResourcesField);
}

function parseDocument<T>(json: unknown, read: (root: Field) => T): T {
  const problems: SpecProblem[] = [];
  const root = new Field(readJson(json), '', problems);
  if (root.absent || typeof root.value !== 'object' || Array.isArray(root.value)) {
    throw new SpecError([{ path: '', message: 'must be a JSON object' }]);
  }
  const result = read(root);
  if (problems.length > 0) throw new SpecError(problems);
  return result;
}

function readJson(json: unknown): unknown {
  let value = json;
  if (typeof json === 'string') {
    if (json.length > MAX_SPEC_BYTES)
      throw new SpecError([{ path: '', message: `must not be larger than ${MAX_SPEC_BYTES / 2 ** 20} MiB` }]);
    // JSON.parse recurses: depth is bounded before it sees the text.
    boundDepth(json);
    try {
      value = parseExactJson(json.startsWith('\uFEFF') ? json.slice(1) : json);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new SpecError([{ path: '', message: `is not JSON: ${reason}` }], cause);
    }
  }
  boundValues(value);
  return value;
}

function tooDeep(): SpecError {
  return new SpecError([{ path: '', message: `must not be nested deeper than ${MAX_SPEC_DEPTH} levels` }]);
}

/** Counts brackets outside of strings. */
function boundDepth(text: string): void {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (inString) {
      if (code === 0x5c) at++;
      else if (code === 0x22) inString = false;
    } else if (code === 0x22) inString = true;
    else if (code === 0x7b || code === 0x5b) {
      if (++depth > MAX_SPEC_DEPTH) throw tooDeep();
    } else if (code === 0x7d || code === 0x5d) depth--;
  }
}

/** The same for what a caller parsed itself, where cycles are possible, too. */
function boundValues(document: unknown): void {
  let values = 0;
  const walk = (value: unknown, depth: number): void => {
    if (++values > MAX_SPEC_VALUES)
      throw new SpecError([{ path: '', message: `must not hold more than ${MAX_SPEC_VALUES} values` }]);
    if (typeof value !== 'object' || value === null) return;
    if (depth > MAX_SPEC_DEPTH) throw tooDeep();
    for (const member of Object.values(value)) walk(member, depth + 1);
  };
  walk(document, 1);
}

/** "Retains forward and backward compatibility within major versions" (config.md, "Specification version"). */
function checkVersion(field: Field): void {
  const version = field.requiredText();
  if (version === '') return;
  const semver = SEMVER.exec(version);
  if (semver === null)
    field.problem(`must be a version such as "1.2.0", not ${JSON.stringify(version.slice(0, 40))}`);
  else if (semver[1] !== '1') field.problem(`must be a version 1.x of the specification, not ${version}`);
}

/** sethostname(2) and setdomainname(2) take 64 bytes (__NEW_UTS_LEN). */
function hostName(field: Field): string | undefined {
  const name = field.words();
  if (name !== undefined && Buffer.byteLength(name) > 64) field.problem('must not be longer than 64 bytes');
  return name;
}
