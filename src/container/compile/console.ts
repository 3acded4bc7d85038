/**
 * The terminal (config.md, "Process"): a pseudoterminal of the container's own devpts, whose other end goes to the caller. Every descriptor is
 * checked to be what it should be before anything is done with it: /dev is the container's.
 */
import type { Argument } from '../plan/plan.js';
import type { OciProcess } from '../spec/types.js';
import {
  data,
  deviceNumber,
  FDCWD,
  fileType,
  fsType,
  NO_LINKS,
  named,
  type ProgramBuilder,
  register,
} from './builder.js';
import type { ConsoleSocket } from './context.js';
import { CompileError } from './errors.js';
import { IOCTL, MAGIC, makedev, O, S } from './numbers.js';
import { attachTree, cloneTree } from './trees.js';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0x80000;
/** sockaddr_un: two bytes for the family, then the path with its NUL. */
const MAX_SOCKET_PATH = 107;

/** Connects to a Unix socket of the host. @throws CompileError where the path does not fit a socket address */
export function connectUnix(
  program: ProgramBuilder,
  path: string,
  result: string,
  purpose: string,
  place: string,
  listener = 'Somebody',
): void {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH)
    throw new CompileError(
      place,
      `is a socket path of more than ${MAX_SOCKET_PATH} bytes: ${path}`,
      'Use a shorter path.',
    );
  const address = Buffer.alloc(2 + Buffer.byteLength(path) + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  address.write(path, 2);
  program.call(
    `make a socket for ${purpose}`,
    'socket',
    [named(AF_UNIX, 'AF_UNIX'), named(SOCK_STREAM | SOCK_CLOEXEC, 'SOCK_STREAM|SOCK_CLOEXEC'), 0],
    { result },
  );
  program.call(
    `connect to ${path} for ${purpose}`,
    'connect',
    [
      register(result),
      data({ bytes: new Uint8Array(address), text: `{AF_UNIX, ${JSON.stringify(path)}}` }),
      address.length,
    ],
    { hint: `${listener} must listen at ${path}.` },
  );
}

/** Whether the command that asks joins the terminal to its own streams. */
export function isForeground(socket: ConsoleSocket | undefined): boolean {
  return socket !== undefined && 'descriptor' in socket;
}

/** Makes `console` the socket that takes the terminal. */
export function openConsoleSocket(
  launcher: ProgramBuilder,
  process: OciProcess,
  socket: ConsoleSocket | undefined,
): void {
  if (process.terminal !== true) return;
  if (socket === undefined)
    throw new CompileError(
      'process.terminal',
      'asks for a terminal, and there is no socket to send it to',
      'Give --console-socket.',
    );
  // A descriptor is inherited under the same name.
  if ('path' in socket) connectUnix(launcher, socket.path, 'console', 'the terminal', 'console socket');
}

/**
 * Makes the terminal the standard streams and sends its other end off.
 * @param root register of the container's root; undefined where this process is in it already
 * @param plain lines end as the program writes them: no carriage return is put before a newline
 */
export function setUpConsole(
  program: ProgramBuilder,
  process: OciProcess,
  root: string | undefined,
  mountConsole: boolean,
  plain: boolean,
): void {
  if (process.terminal !== true) return;
  const folder: Argument = root === undefined ? FDCWD : register(root);
  const what = "open the container's /dev/pts/ptmx";
  const hint = 'A container with a terminal needs a devpts at /dev/pts in its mounts.';
  program.openAt2(
    what,
    folder,
    root === undefined ? '/dev/pts/ptmx' : 'dev/pts/ptmx',
    ['RDWR', 'NOCTTY'],
    // Alone, the path is absolute: in the container's own root already.
    root === undefined ? ['NO_MAGICLINKS', 'NO_SYMLINKS'] : NO_LINKS,
    { result: 'master', hint },
  );
  const wrong = `${what}: it is no terminal of a devpts`;
  program.expect(wrong, fsType(program.statfs(what, 'master')), MAGIC.DEVPTS, 'ENODEV', hint);
  const stat = program.stat(what, 'master');
  program.expect(wrong, fileType(stat), S.IFCHR, 'ENODEV', hint);
  program.expect(wrong, deviceNumber(stat), makedev(5, 2), 'ENODEV', hint);
  program.call('unlock the terminal', 'ioctl', [
    register('master'),
    named(IOCTL.TIOCSPTLCK, 'TIOCSPTLCK'),
    data({ bytes: new Uint8Array(4), text: '{0}' }),
  ]);
  const flags = O.RDWR | O.NOCTTY | O.CLOEXEC;
  program.call(
    "open the terminal's other end",
    'ioctl',
    [register('master'), named(IOCTL.TIOCGPTPEER, 'TIOCGPTPEER'), named(flags, 'O_RDWR|O_NOCTTY|O_CLOEXEC')],
    { result: 'terminal' },
  );
  // In the foreground the caller's own terminal ends lines by itself, and a file or a pipe must get them as they were printed.
  if (plain) setPlainOutput(program);
  const { consoleSize } = process;
  if (consoleSize !== undefined && consoleSize.height + consoleSize.width > 0) setSize(program, consoleSize);
  if (mountConsole && root !== undefined) bindConsole(program, root);
  program.add({
    op: 'send-descriptor',
    what: 'send the terminal to the console socket',
    socket: 'console',
    descriptor: 'master',
    payload: '/dev/ptmx',
  });
  program.close('console');
  program.close('master');
  for (const descriptor of [0, 1, 2])
    program.call(`make the terminal descriptor ${descriptor}`, 'dup3', [register('terminal'), descriptor, 0]);
  program.close('terminal');
}

/** Has the terminal control the session that this process has begun: its stdin is it by now. */
export function takeTerminal(program: ProgramBuilder, process: OciProcess): void {
  if (process.terminal !== true) return;
  program.call('make it the controlling terminal', 'ioctl', [0, named(IOCTL.TIOCSCTTY, 'TIOCSCTTY'), 0]);
}

/** struct termios as the kernel has it (asm-generic/termbits.h), with what a new terminal begins with (tty_std_termios) but for ONLCR. */
const PLAIN_TERMIOS = {
  input: 0o2400, // ICRNL|IXON
  output: 0o1, // OPOST
  control: 0o277, // B38400|CS8|CREAD
  local: 0o105073, // ISIG|ICANON|ECHO|ECHOE|ECHOK|ECHOCTL|ECHOKE|IEXTEN
  // INTR, QUIT, ERASE, KILL, EOF, TIME, MIN, SWTC, START, STOP, SUSP, EOL, REPRINT, DISCARD, WERASE, LNEXT
  characters: [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22],
} as const;
const TERMIOS_SIZE = 36;
const TERMIOS_CHARACTERS = 17;

function setPlainOutput(program: ProgramBuilder): void {
  const { input, output, control, local, characters } = PLAIN_TERMIOS;
  const bytes = new Uint8Array(TERMIOS_SIZE);
  const view = new DataView(bytes.buffer);
  [input, output, control, local].forEach((flags, index) => {
    view.setUint32(index * 4, flags, true);
  });
  bytes.set(characters, TERMIOS_CHARACTERS);
  program.call("leave the program's line ends alone", 'ioctl', [
    register('terminal'),
    named(IOCTL.TCSETS, 'TCSETS'),
    data({ bytes, text: '{the default without ONLCR}' }),
  ]);
}

function setSize(program: ProgramBuilder, { height, width }: { height: number; width: number }): void {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, height, true);
  view.setUint16(2, width, true);
  program.call("set the terminal's size", 'ioctl', [
    register('master'),
    named(IOCTL.TIOCSWINSZ, 'TIOCSWINSZ'),
    data({ bytes, text: `{${height}, ${width}}` }),
  ]);
}

/** /dev/console is the terminal, bound upon a plain file: no link may lead the mount elsewhere. */
function bindConsole(program: ProgramBuilder, root: string): void {
  const what = 'bind the terminal to /dev/console';
  cloneTree(program, what, register('terminal'), '', 'one', 'tree');
  program.add({ op: 'ensure', what, root, path: 'dev', kind: 'directory', mode: 0o755, result: 'folder' });
  program.call(what, 'mknodat', [register('folder'), data('console'), named(S.IFREG | 0o600, '0100600'), 0], {
    allow: ['EEXIST'],
  });
  program.openAt2(what, register('folder'), 'console', ['PATH', 'NOFOLLOW'], ['BENEATH', 'NO_SYMLINKS'], {
    result: 'target',
    hint: '/dev/console in the root must be a plain file, or missing.',
  });
  attachTree(program, what, 'tree', 'target');
  program.close('target');
  program.close('folder');
  program.close('tree');
}
