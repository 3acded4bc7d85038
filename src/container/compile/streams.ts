/**
 * Standard streams that are the host's /dev/null become the container's: as its root, a program could change the mode of the host's through
 * the descriptor. Only a real /dev/null is taken for it.
 */
import type { Argument } from '../plan/plan.js';
import { deviceNumber, FDCWD, fileType, NO_LINKS, named, type ProgramBuilder, register } from './builder.js';
import { makedev, O, S } from './numbers.js';

const NULL_DEVICE = makedev(1, 3);
const F_SETFL = 4;

/** @param root register of the container's root; undefined where this process is in it already */
export function replaceNull(program: ProgramBuilder, root: string | undefined): void {
  const folder: Argument = root === undefined ? FDCWD : register(root);
  const what = "open the container's /dev/null";
  const done = program.newLabel('streams');
  program.openAt2(
    what,
    folder,
    root === undefined ? '/dev/null' : 'dev/null',
    // A pipe or a terminal in its place shall neither block nor become ours.
    ['RDWR', 'NONBLOCK', 'NOCTTY'],
    root === undefined ? ['NO_MAGICLINKS', 'NO_SYMLINKS'] : NO_LINKS,
    { allow: ['ENOENT', 'ELOOP', 'EACCES', 'EPERM'], result: 'null' },
  );
  program.jump('negative', 'null', done);
  const stat = program.stat(what, 'null');
  program.compare(what, fileType(stat), S.IFCHR, 'is-device');
  program.compare(what, deviceNumber(stat), NULL_DEVICE, 'is-null');
  program.unless('zero', 'is-device', 'no-device', () => {
    program.unless('zero', 'is-null', 'no-null', () => {
      program.call('let it block again', 'fcntl', [
        register('null'),
        named(F_SETFL, 'F_SETFL'),
        named(O.RDWR, 'O_RDWR'),
      ]);
      for (const descriptor of [0, 1, 2]) replaceStream(program, descriptor);
    });
  });
  program.close('null');
  program.label(done);
}

function replaceStream(program: ProgramBuilder, descriptor: number): void {
  const what = `take descriptor ${descriptor} from the host's /dev/null to the container's`;
  const stat = program.statDescriptor(what, descriptor);
  program.compare(what, fileType(stat), S.IFCHR, 'is-device');
  program.compare(what, deviceNumber(stat), NULL_DEVICE, 'is-null');
  program.unless('zero', 'is-device', 'no-device', () => {
    program.unless('zero', 'is-null', 'no-null', () => {
      program.call(what, 'dup3', [register('null'), descriptor, 0]);
    });
  });
}
