/** NOTIFY_SOCKET (sd_notify(3)): how a service manager hears from a container that it is ready, and what happens where nobody listens. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { FileDescriptor } from '../src/sys/fd.js';
import { bindDatagram } from '../src/sys/unix-datagram.js';
import { type ReceivedMessage, receiveMessage } from '../src/sys/unix-socket.js';
import { needs } from './support/needs.js';
import { type Config, OciTest } from './support/oci.js';

let t: OciTest;
/** The service manager's. */
let host: string;
let manager: FileDescriptor;
beforeEach((context) => {
  needs(context, 'root');
  t = new OciTest();
  host = join(t.folder, 'host.sock');
  manager = bindDatagram(host);
});
afterEach(async () => {
  manager?.[Symbol.dispose]();
  await t?.end();
});

/** A shell function: says something at the container's socket. */
const NOTIFY = `notify() {
  perl -MSocket -e 'socket(S, PF_UNIX, SOCK_DGRAM, 0); send(S, $ARGV[0], 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "$!\\n"' "$1"
}`;

/** The host's programs are the container's, too. */
function bundle(script: string, change: (config: Config) => void = () => {}): Promise<string> {
  return t.bundle(`${NOTIFY}\n${script}`, (config) => {
    for (const folder of ['/usr', '/lib', '/lib64'])
      config.mounts.push({ destination: folder, type: 'bind', source: folder, options: ['rbind', 'ro'] });
    change(config);
  });
}

async function message(): Promise<ReceivedMessage> {
  for (let tries = 0; tries < 200; tries++) {
    try {
      return receiveMessage(manager.fd, 'a barrier');
    } catch {
      await delay(50);
    }
  }
  throw new Error('nothing comes');
}

const text = ({ bytes }: ReceivedMessage) => Buffer.from(bytes).toString();

function nothingMore(): void {
  expect(() => receiveMessage(manager.fd, 'a message')).toThrow('EAGAIN');
}

test('start waits until the container is ready, and until the manager has heard it', async () => {
  const path = await bundle(
    'notify STATUS=warming; sleep 0.3; notify "READY=1\nSTATUS=here"; exec sleep 1000',
  );
  const env = { NOTIFY_SOCKET: host };
  expect(await t.oci(['create', '-b', path, 'one'], { env })).toMatchObject({ status: 0 });
  let ended = false;
  const started = t.oci(['start', 'one'], { env }).then((outcome) => {
    ended = true;
    return outcome;
  });
  expect(text(await message())).toBe('READY=1\n');
  const { pid } = JSON.parse(await t.ok('state', 'one'));
  expect(text(await message())).toBe(`MAINPID=${pid}\n`);
  const barrier = await message();
  expect(text(barrier)).toBe('BARRIER=1');
  await delay(100);
  expect(ended).toBe(false);
  barrier.descriptor?.[Symbol.dispose]();
  expect(await started).toEqual({ status: 0, stdout: '', stderr: '' });
  nothingMore();
  await t.ok('delete', '--force', 'one');
  expect(t.left()).toEqual([]);
});

test('the container finds its socket in a folder that it cannot write in', async () => {
  const script = 'echo $NOTIFY_SOCKET; [ -S $NOTIFY_SOCKET ] && ! touch /run/notify/x && ls /run/notify';
  const path = await t.bundle(script, ({ process }) => process.env.push('NOTIFY_SOCKET=/other'));
  const { status, stdout, stderr } = await t.oci(['run', '-b', path, 'one'], {
    env: { NOTIFY_SOCKET: host },
  });
  expect({ status, stdout }).toEqual({ status: 0, stdout: '/run/notify/notify.sock\nnotify.sock\n' });
  expect(stderr).toContain('Read-only file system');
  nothingMore();
  expect(t.left()).toEqual([]);
});

test('run in the foreground is the service itself, detached the container is', async () => {
  const env = { NOTIFY_SOCKET: host };
  const foreground = t.oci(['run', '-b', await bundle('notify READY=1; sleep 0.5; exit 5'), 'one'], { env });
  expect(text(await message())).toBe('READY=1\n');
  expect(text(await message())).toMatch(/^MAINPID=\d+\n$/);
  expect((await foreground).status).toBe(5);
  nothingMore();

  const detached = t.oci(['run', '-d', '-b', await bundle('notify READY=1; exec sleep 1000'), 'two'], {
    env,
  });
  expect(text(await message())).toBe('READY=1\n');
  const { pid } = JSON.parse(await t.ok('state', 'two'));
  expect(text(await message())).toBe(`MAINPID=${pid}\n`);
  (await message()).descriptor?.[Symbol.dispose]();
  expect((await detached).status).toBe(0);
  await t.ok('delete', '--force', 'two');
  expect(t.left()).toEqual([]);
});

test('a container with ids of its own is heard as well', async () => {
  const path = await bundle('notify READY=1', ({ linux }) => {
    linux.namespaces.push({ type: 'user' });
    linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
    linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
  });
  // Its root may not make what it does not own.
  for (const folder of ['usr', 'lib', 'lib64', 'run/notify'])
    mkdirSync(join(path, 'rootfs', folder), { recursive: true });
  const { status, stderr } = await t.oci(['run', '-b', path, 'one'], { env: { NOTIFY_SOCKET: host } });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(text(await message())).toBe('READY=1\n');
});

test('a container that ends without a word is not waited for', async () => {
  const env = { NOTIFY_SOCKET: host };
  await t.oci(['create', '-b', await t.bundle('exit 3'), 'one'], { env });
  expect(await t.oci(['start', 'one'], { env })).toEqual({ status: 0, stdout: '', stderr: '' });
  nothingMore();
  await t.ok('delete', 'one');
  expect(t.left()).toEqual([]);
});

test('where nobody listens, containers start with a warning', async () => {
  const env = { NOTIFY_SOCKET: '/nobody/here' };
  const path = await t.bundle('sleep 1000');
  await t.oci(['create', '-b', path, 'one'], { env });
  const started = await t.oci(['start', 'one'], { env });
  expect(started.status).toBe(0);
  expect(started.stderr).toContain(
    'nobody will be told at NOTIFY_SOCKET /nobody/here that the container is ready: connect /nobody/here: ENOENT',
  );
  // Created without one.
  await t.ok('create', '-b', await t.bundle('sleep 1000'), 'two');
  expect((await t.oci(['start', 'two'], { env: { NOTIFY_SOCKET: host } })).status).toBe(0);
  // No socket's address.
  expect(
    (await t.oci(['run', '-b', await t.bundle('exit 4'), 'three'], { env: { NOTIFY_SOCKET: 'vsock:2:1' } }))
      .status,
  ).toBe(4);
  for (const id of ['one', 'two']) await t.ok('delete', '--force', id);
  expect(t.left()).toEqual([]);
});
