/** Ids and names of containers and pods: what they may be, and new ones. */
import { randomBytes, randomInt } from 'node:crypto';
import { ContainerNameError } from './errors.js';

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;
const ID = /^[0-9a-f]{64}$/;

/** 64 hexadecimal digits that are not all decimal: a short form must not be taken for a number. */
export function newId(): string {
  for (;;) {
    const id = randomBytes(32).toString('hex');
    if (/[a-f]/.test(id.slice(0, 12))) return id;
  }
}

export function isId(word: string): boolean {
  return ID.test(word);
}

/** As people write ids. */
export function shortId(id: string): string {
  return id.slice(0, 12);
}

/** @throws ContainerNameError */
export function checkName(name: string): string {
  if (!NAME.test(name)) {
    throw new ContainerNameError(`${JSON.stringify(name)} is no name of a container`, {
      code: 'CONTAINER_NAME',
      hint: 'letters, digits, "_", "." and "-", at most 128, the first a letter or digit',
    });
  }
  if (ID.test(name))
    throw new ContainerNameError('a name cannot look like an id', { code: 'CONTAINER_NAME' });
  return name;
}

const QUALITIES =
  'able airy bold brave brisk calm clear clever cool crisp deft eager early easy even fair fast fine firm fond fresh gentle glad good grand great happy hardy keen kind lively lucky merry mild neat nimble noble plain polite prime proud quick quiet rapid ready safe sharp shy silent smart smooth snug solid spry steady still sunny swift tidy trusty vivid warm wise witty'.split(
    ' ',
  );
const BEINGS =
  'adder alder ant aspen badger bat bear beaver bee beech birch boar bream carp cedar crane crow deer dove eagle eel elk elm falcon fern finch fir fox frog gull hare hawk hazel heron holly horse ibis iris ivy jay kite lark lily linden lion lotus lynx maple mink mole moose moss moth newt oak orca osprey otter owl perch pike pine plover puma raven reed robin rook rose rowan sage seal sedge shrew skua snail sorrel stork swan swift tern thrush toad trout tulip viper vole wasp whale willow wolf wren yew'.split(
    ' ',
  );

/** A name out of two words, such as `calm-otter`; with digits where `tries` says that those are taken. */
export function randomName(tries = 0): string {
  const pick = (words: readonly string[]) => words[randomInt(words.length)] ?? '';
  return `${pick(QUALITIES)}-${pick(BEINGS)}${tries < 3 ? '' : `-${randomInt(1000, 100_000)}`}`;
}
