/**
 * Templates of `--format`, in the language of Go's text/template as far as people use it at the command line: fields, pipes, if, range, with,
 * variables, and docker's functions json, join, split, upper, lower, title, truncate, pad, println. Anything else is refused by name.
 */
import { UsageError } from '../usage-error.js';
import { callFunction, isTruthy, lookUp, shown } from './template-values.js';

/** Fills a template with a value. */
export type Template = (data: unknown) => string;

interface Scope {
  readonly dot: unknown;
  readonly variables: ReadonlyMap<string, unknown>;
}
type Node = (scope: Scope) => string;
type Expression = (scope: Scope) => unknown;

type Part = { readonly text: string } | { readonly action: string };

function refuse(what: string): never {
  throw new UsageError(`--format: ${what}`, "for instance --format '{{.ID}} {{json .}}', or --format json");
}

/** Text and actions in turn; `{{-` and `-}}` take the white space beside them. */
function split(template: string): Part[] {
  const parts: Part[] = [];
  let rest = template.replaceAll('\\t', '\t').replaceAll('\\n', '\n');
  for (;;) {
    const start = rest.indexOf('{{');
    if (start < 0) return [...parts, { text: rest }];
    const end = rest.indexOf('}}', start);
    if (end < 0) refuse('a {{ has no }}');
    const inner = rest.slice(start + 2, end);
    const before = rest.slice(0, start);
    parts.push({ text: /^-\s/.test(inner) ? before.trimEnd() : before });
    parts.push({ action: inner.replace(/^-\s/, ' ').replace(/\s-$/, ' ').trim() });
    rest = rest.slice(end + 2);
    if (/\s-$/.test(inner)) rest = rest.trimStart();
  }
}

const TOKEN = /\s*("(?:[^"\\]|\\.)*"|`[^`]*`|:=|[|(),]|\$?(?:\.?[A-Za-z_][\w-]*)+|\$|\.|-?\d+(?:\.\d+)?)/y;

function tokens(text: string): string[] {
  const found: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match?.[1] === undefined) refuse(`${JSON.stringify(text.slice(at).trim())} cannot be read`);
    found.push(match[1]);
  }
  return found;
}

/** One pipeline. */
class ExpressionParser {
  #at = 0;

  constructor(private readonly words: readonly string[]) {}

  whole(): Expression {
    const found = this.#pipeline();
    if (this.#at < this.words.length) refuse(`${this.words.slice(this.#at).join(' ')} is too much`);
    return found;
  }

  #peek(): string | undefined {
    return this.words[this.#at];
  }

  #pipeline(): Expression {
    let value = this.#command(undefined);
    while (this.#peek() === '|') {
      this.#at++;
      value = this.#command(value);
    }
    return value;
  }

  #command(piped: Expression | undefined): Expression {
    const first = this.#peek();
    if (first === undefined) return refuse('an action is empty');
    if (!/^[A-Za-z_]/.test(first) || /^(true|false|nil)$/.test(first)) {
      if (piped !== undefined) refuse(`${first} is no function`);
      return this.#operand();
    }
    this.#at++;
    const operands: Expression[] = [];
    for (let next = this.#peek(); next !== undefined && next !== '|' && next !== ')'; next = this.#peek())
      operands.push(this.#operand());
    if (piped !== undefined) operands.push(piped);
    return (scope) =>
      callFunction(
        first,
        operands.map((one) => one(scope)),
      );
  }

  #operand(): Expression {
    const word = this.#peek() ?? refuse('an operand is missing');
    this.#at++;
    if (word === '(') {
      const inner = this.#pipeline();
      if (this.#peek() !== ')') refuse('a ( has no )');
      this.#at++;
      // `(index .Ports 0).HostPort`
      const path = this.#peek();
      if (path === undefined || !/^\.\w/.test(path)) return inner;
      this.#at++;
      const names = path.split('.').filter((part) => part !== '');
      return (scope) => lookUp(inner(scope), names);
    }
    if (word.startsWith('"')) {
      try {
        const text: unknown = JSON.parse(word);
        return () => text;
      } catch {
        return refuse(`${word} cannot be read`);
      }
    }
    if (word.startsWith('`')) return () => word.slice(1, -1);
    if (/^-?\d/.test(word)) return () => Number(word);
    if (word === 'true' || word === 'false') return () => word === 'true';
    if (word === 'nil') return () => undefined;
    if (word.startsWith('$')) {
      const [name = '$', ...path] = word.split('.');
      return ({ variables }) => {
        if (!variables.has(name)) refuse(`there is no variable ${name}`);
        return lookUp(variables.get(name), path);
      };
    }
    if (word.startsWith('.')) {
      const path = word.split('.').filter((part) => part !== '');
      return ({ dot }) => lookUp(dot, path);
    }
    // A function without operands.
    return () => callFunction(word, []);
  }
}

const expression = (text: string) => new ExpressionParser(tokens(text)).whole();
const withVariable = (scope: Scope, name: string | undefined, value: unknown): Scope =>
  name === undefined ? scope : { ...scope, variables: new Map([...scope.variables, [name, value]]) };

class TemplateParser {
  #at = 0;

  constructor(private readonly parts: readonly Part[]) {}

  /** Nodes up to one of these words, which is taken. @returns the word's whole action */
  block(ends: readonly string[]): { nodes: Node[]; end: string } {
    const nodes: Node[] = [];
    for (;;) {
      const part = this.parts[this.#at++];
      if (part === undefined) {
        if (ends.length > 0) refuse('{{end}} is missing');
        return { nodes, end: '' };
      }
      if ('text' in part) {
        nodes.push(() => part.text);
        continue;
      }
      const [word = ''] = part.action.split(/\s/, 1);
      if (ends.includes(word)) return { nodes, end: part.action };
      nodes.push(this.#node(word, part.action));
    }
  }

  #node(word: string, action: string): Node {
    const rest = action.slice(word.length).trim();
    if (action.startsWith('/*')) return () => '';
    if (word === 'if') return this.#condition(rest);
    if (word === 'range') return this.#range(rest);
    if (word === 'with') return this.#with(rest);
    if (['end', 'else', 'define', 'template', 'block', 'break', 'continue'].includes(word))
      refuse(`{{${word}}} is not understood here`);
    if (/^\$\w+\s*:?=/.test(action)) refuse('variables are only set by range');
    const value = expression(action);
    return (scope) => shown(value(scope));
  }

  #condition(text: string): Node {
    const test = expression(text);
    const { nodes, end } = this.block(['else', 'end']);
    const otherwise = this.#otherwise(end);
    return (scope) => render(isTruthy(test(scope)) ? nodes : otherwise, scope);
  }

  #otherwise(end: string): Node[] {
    if (end === 'end') return [];
    const chained = /^else\s+if\s+(.*)$/s.exec(end)?.[1];
    if (chained !== undefined) return [this.#condition(chained)];
    if (end !== 'else') refuse(`{{${end}}} is not understood`);
    return this.block(['end']).nodes;
  }

  #range(text: string): Node {
    const [, first, second, source = text] = /^(\$\w+)(?:\s*,\s*(\$\w+))?\s*:=\s*(.*)$/s.exec(text) ?? [];
    const list = expression(source);
    const { nodes, end } = this.block(['else', 'end']);
    const otherwise = this.#otherwise(end);
    return (scope) => {
      const entries = entriesOf(list(scope));
      if (entries.length === 0) return render(otherwise, scope);
      return entries
        .map(([key, value]) => {
          const inner = { ...scope, dot: value };
          if (second === undefined) return render(nodes, withVariable(inner, first, value));
          return render(nodes, withVariable(withVariable(inner, first, key), second, value));
        })
        .join('');
    };
  }

  #with(text: string): Node {
    const value = expression(text);
    const { nodes, end } = this.block(['else', 'end']);
    const otherwise = this.#otherwise(end);
    return (scope) => {
      const dot = value(scope);
      return isTruthy(dot) ? render(nodes, { ...scope, dot }) : render(otherwise, scope);
    };
  }
}

function render(nodes: readonly Node[], scope: Scope): string {
  return nodes.map((node) => node(scope)).join('');
}

function entriesOf(value: unknown): [unknown, unknown][] {
  if (Array.isArray(value)) return value.map((one: unknown, index): [unknown, unknown] => [index, one]);
  if (value instanceof Map) return [...value].map(([key, one]): [unknown, unknown] => [key, one]);
  if (value === undefined || value === null) return [];
  if (typeof value === 'object') return Object.entries(value);
  return refuse(`range wants a list, not ${shown(value)}`);
}

/** @throws UsageError for what is not understood; the template throws it for fields that are not there */
export function parseTemplate(text: string): Template {
  const { nodes } = new TemplateParser(split(text)).block([]);
  return (data) => render(nodes, { dot: data, variables: new Map([['$', data]]) });
}
