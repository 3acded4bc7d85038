/** The runner against plugins of shell: what they get, in which order, and what becomes of those that misbehave. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TvmmError } from '../../sys/errors.js';
import { Attachments } from './attachments.js';
import { Cni, formatArgs, runtimeConfig } from './cni.js';
import { type NetworkConfig, parseNetworkConfig } from './cni-config.js';
import { cniPath, pluginEnvironment } from './cni-exec.js';
import { parseFailure, parseResult, plainText } from './cni-result.js';

let folder = '';
let bin = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-cni-'));
  bin = join(folder, 'bin');
  mkdirSync(bin);
});
afterEach(() => rmSync(folder, { recursive: true }));

const RESULT =
  '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/ns"}],"ips":[{"address":"10.1.0.5/16","interface":0}]}';

/** A plugin that writes down its command and its input, then runs `body`. */
function plugin(name: string, body = `echo '${RESULT}'`): void {
  const versions = `[ "$CNI_COMMAND" = VERSION ] && echo '{"supportedVersions":["0.4.0","1.0.0","1.1.0"]}' && exit`;
  const log = `{ echo "$CNI_COMMAND ${name} $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS $CNI_ARGS"; cat; echo; } >> ${folder}/log`;
  writeFileSync(join(bin, name), `#!/bin/sh\n${versions}\n${log}\n${body}\n`);
  chmodSync(join(bin, name), 0o755);
}

const log = () => readFileSync(join(folder, 'log'), 'utf8').trim().split('\n');
/** The calls, without their input. */
const calls = () => log().filter((line) => !line.startsWith('{'));
const inputs = () =>
  log()
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as unknown);

function network(types: readonly string[], extra: object = {}): NetworkConfig {
  const plugins = types.map((type) => ({ type, capabilities: { portMappings: true }, own: [1] }));
  return parseNetworkConfig(JSON.stringify({ cniVersion: '1.1.0', name: 'net', plugins, ...extra }), 'test');
}

const cni = (timeoutMs = 10_000) => new Cni({ path: [join(folder, 'none'), bin], timeoutMs });
const PORTS = { portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'tcp' }] };
const attachment = {
  containerId: 'c1',
  netns: '/ns',
  ifname: 'eth0',
  capabilities: PORTS,
  args: { K8S: 'x' },
};

test('ADD runs the chain in order, each plugin with the result of the one before', async () => {
  plugin('a');
  plugin('b', `echo '{"cniVersion":"1.1.0","ips":[],"mine":true}'`);
  const result = await cni().add(network(['a', 'b']), '1.1.0', attachment);
  expect(calls()).toEqual([
    'ADD a c1 eth0 /ns IgnoreUnknown=1;K8S=x',
    'ADD b c1 eth0 /ns IgnoreUnknown=1;K8S=x',
  ]);
  expect(inputs()).toEqual([
    { type: 'a', own: [1], runtimeConfig: PORTS, name: 'net', cniVersion: '1.1.0' },
    {
      ...{ type: 'b', own: [1], runtimeConfig: PORTS, name: 'net', cniVersion: '1.1.0' },
      prevResult: { ...(JSON.parse(RESULT) as object), cniVersion: '1.1.0' },
    },
  ]);
  expect(result.raw.mine).toBe(true);
});

test('DEL runs the chain backwards with the final result, CHECK forwards', async () => {
  plugin('a');
  plugin('b');
  const config = network(['a', 'b']);
  await cni().del(config, '1.1.0', attachment, { ips: [] });
  await cni().check(config, '1.1.0', attachment, { ips: [] });
  expect(calls().map((line) => line.slice(0, 7).trim())).toEqual([
    'DEL b c',
    'DEL a c',
    'CHECK a',
    'CHECK b',
  ]);
  for (const input of inputs()) expect(input).toMatchObject({ prevResult: { ips: [], cniVersion: '1.1.0' } });
});

test('a plugin that does not know the container has nothing to remove', async () => {
  plugin('a');
  plugin('b', `echo '{"code":3,"msg":"who?"}'; exit 1`);
  await cni().del(network(['a', 'b']), '1.1.0', attachment, undefined);
  expect(calls()).toHaveLength(2);
  await expect(cni().add(network(['b']), '1.1.0', attachment)).rejects.toMatchObject({
    code: 'CNI_CONTAINER_UNKNOWN',
  });
});

test('versions decide what is there: no previous result for DEL before 0.4, no CHECK, no GC and STATUS before 1.1', async () => {
  plugin('a');
  await cni().del(network(['a']), '0.3.1', attachment, { ips: [] });
  expect(inputs()[0]).not.toHaveProperty('prevResult');
  expect(await cni().check(network(['a']), '0.3.1', attachment, {})).toBe(false);
  expect(await cni().check(network(['a'], { disableCheck: true }), '1.1.0', attachment, {})).toBe(false);
  await cni().gc(network(['a']), '1.0.0', []);
  await cni().gc(network(['a'], { disableGC: true }), '1.1.0', []);
  await cni().status(network(['a']), '1.0.0');
  expect(calls()).toHaveLength(1);
});

test('GC tells every plugin what is valid and goes on after a failure', async () => {
  plugin('a', 'exit 1');
  plugin('b', 'true');
  const failures = await cni().gc(network(['a', 'b']), '1.1.0', [attachment]);
  expect(failures.map(({ message }) => message)).toEqual(['the CNI plugin a (GC) ended with exit status 1']);
  expect(inputs()[1]).toMatchObject({ 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] });
});

test('the highest version that all plugins speak is chosen, and none in common is said', async () => {
  plugin('a');
  plugin('old', '');
  const versions = { cniVersions: ['0.3.1', '0.4.0', '1.0.0'] };
  expect(await cni().negotiate(network(['a'], versions))).toBe('1.1.0');
  writeFileSync(join(bin, 'old'), `#!/bin/sh\necho '{"supportedVersions":["0.3.1","0.4.0"]}'\n`);
  expect(await cni().negotiate(network(['a', 'old'], versions))).toBe('0.4.0');
  writeFileSync(join(bin, 'old'), `#!/bin/sh\necho '{"supportedVersions":["0.2.0"]}'\n`);
  await expect(cni().negotiate(network(['a', 'old'], versions))).rejects.toThrow('old speaks 0.2.0');
});

test.each([
  ['exit 3', 'the CNI plugin bad (ADD) ended with exit status 3'],
  ['echo oops >&2; exit 1', 'ended with exit status 1; it wrote: oops'],
  [
    `echo '{"code":7,"msg":"bad subnet","details":"10.0.0.0/31"}'; exit 1`,
    'failed: bad subnet; 10.0.0.0/31 (the network configuration is wrong)',
  ],
  [`echo '{"code":100,"msg":"x"}'; exit 1`, 'failed: x'],
  ['echo no json; exit 1', 'ended with exit status 1, saying no json'],
  [`printf '\\033[2J'`, 'answered what is no result: it is no JSON'],
  ['echo no json', 'answered what is no result: it is no JSON'],
  ['true', 'answered what is no result: it is empty'],
  ['echo []', 'answered what is no result: it must be an object, not a list'],
  [`echo '{"ips":[{"address":"10.0.0.1"}]}'`, '/ips/0/address "10.0.0.1" is no address with a prefix length'],
  [`echo '{"interfaces":[{"name":"../x"}]}'`, '/interfaces/0/name "../x" is no name of an interface'],
  [
    `echo '{"dns":{"nameservers":["1.1.1.1\\\\nnameserver 6.6.6.6"]}}'`,
    '/dns/nameservers/0 must be one word',
  ],
  [`head -c 70000 /dev/zero | tr '\\0' '['`, 'is nested deeper than 64'],
  ['cat /dev/zero', 'wrote more than 1048576 bytes'],
  ['kill -9 $$', 'ended with SIGKILL'],
])('a plugin that does `%s` becomes a sentence', async (body, message) => {
  plugin('bad', body);
  await expect(cni().add(network(['bad']), '1.1.0', attachment)).rejects.toThrow(message);
});

test('a plugin that does not end is ended, with what it started', async () => {
  plugin('slow', `sleep 1000 & echo $! > ${folder}/pid; wait`);
  await expect(cni(2000).add(network(['slow']), '1.1.0', attachment)).rejects.toThrow(
    'did not end within 2 s',
  );
  const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'));
  await expect
    .poll(() => {
      try {
        return readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[2];
      } catch {
        return 'gone';
      }
    })
    .toMatch(/gone|Z/);
});

test('a plugin that is missing is named with the folders and what to install', async () => {
  writeFileSync(join(bin, 'plain'), '');
  const failure = cni().add(network(['plain']), '1.1.0', attachment);
  await expect(failure).rejects.toMatchObject({
    message: `the network net needs the CNI plugin plain, which is not in ${folder}/none, ${bin}`,
    hint: expect.stringContaining('containernetworking-plugins') as unknown,
  });
});

test('an ADD is on record before its first plugin runs, and gone when it is undone', async () => {
  const attachments = new Attachments(cni(), folder);
  plugin('a', `[ $CNI_COMMAND = ADD ] && ls ${folder}/attachments >> ${folder}/seen; echo '${RESULT}'`);
  plugin('b', '[ $CNI_COMMAND = DEL ] || exit 1');
  const begun = await attachments.begin(network(['a', 'b']), attachment);
  await expect(attachments.finish(begun)).rejects.toThrow('the CNI plugin b (ADD) ended with exit status 1');
  expect(readFileSync(join(folder, 'seen'), 'utf8')).toBe('net@c1@eth0.json\n');
  expect(calls().map((line) => line.slice(0, 5))).toEqual(['ADD a', 'ADD b', 'DEL b', 'DEL a']);
  // What the first plugin had made is what the DEL is told.
  expect(inputs()[2]).toMatchObject({ prevResult: { ips: [{ address: '10.1.0.5/16' }] } });
  expect(readdirSync(join(folder, 'attachments'))).toEqual([]);
});

test('what cannot be undone stays on record for another DEL', async () => {
  const attachments = new Attachments(cni(), folder);
  plugin('a', 'exit 1');
  const begun = await attachments.begin(network(['a']), attachment);
  await expect(attachments.finish(begun)).rejects.toThrow('undoing it failed as well');
  expect(attachments.store.of('c1')).toHaveLength(1);
  plugin('a');
  await attachments.detach('c1');
  await attachments.detach('c1');
  expect(attachments.store.of('c1')).toEqual([]);
});

test('a record that another engine reads is the same attachment, and one that was changed is refused', async () => {
  plugin('a');
  const attachments = new Attachments(cni(), folder);
  await attachments.finish(await attachments.begin(network(['a']), attachment));
  const [stored] = new Attachments(cni(), folder).store.of('c1');
  expect(stored).toMatchObject({ version: '1.1.0', complete: true, attachment });
  await expect(attachments.begin(network(['a']), attachment)).rejects.toThrow(
    'already has an interface eth0',
  );
  const file = join(folder, 'attachments', 'net@c1@eth0.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace('"containerId":"c1"', '"containerId":"c2"'));
  expect(() => attachments.store.of('c1')).toThrow('has the name of another attachment');
  expect(attachments.store.all().broken.map(({ containerId }) => containerId)).toEqual(['c1']);
});

test('names that could leave the folder are no attachment', async () => {
  const attachments = new Attachments(cni(), folder);
  plugin('a');
  for (const bad of [{ containerId: '../x' }, { containerId: 'a@b' }, { ifname: 'a/b' }]) {
    await expect(attachments.begin(network(['a']), { ...attachment, ...bad })).rejects.toThrow(
      'cannot name an attachment',
    );
  }
});

test('a plugin’s environment has its parameters, a path with sbin, and nothing of Node’s or of another run', () => {
  const call = { command: 'ADD' as const, parameters: { CNI_IFNAME: 'eth0' }, path: ['/a', '/b'] };
  const given = { PATH: '/bin', HOME: '/', NODE_OPTIONS: 'x', CNI_ARGS: 'stale' };
  expect(pluginEnvironment(call, given)).toEqual({
    PATH: '/bin:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin',
    HOME: '/',
    CNI_IFNAME: 'eth0',
    CNI_COMMAND: 'ADD',
    CNI_PATH: '/a:/b',
  });
  expect(cniPath({ CNI_PATH: '/x:relative:/y' })).toEqual(['/x', '/y']);
});

test('only capabilities that a plugin asks for reach it', () => {
  const [one] = network(['a']).plugins;
  if (one === undefined) throw new Error('no plugin');
  expect(runtimeConfig(one, { ...PORTS, mac: 'x' })).toEqual(PORTS);
  expect(runtimeConfig(one, { mac: 'x' })).toBeUndefined();
  expect(formatArgs({})).toBe('');
});

test('a plugin’s words reach the terminal as one plain line', () => {
  expect(plainText('a\u001b[31mb\nc\u202e')).toBe('a [31mb c');
  expect(plainText('x'.repeat(5000))).toHaveLength(1025);
  expect(parseFailure({ code: 11 })).toEqual({ code: 11, message: 'try again later' });
  expect(parseFailure({ msg: 'no code' })).toBeUndefined();
});

test('arbitrary JSON as a result gives a result or a refusal', () => {
  const refuse = (pointer: string, problem: string) => new TvmmError(`${pointer} ${problem}`, { code: 'X' });
  const shaped = fc.record(
    {
      interfaces: fc.oneof(fc.jsonValue(), fc.array(fc.record({ name: fc.string(), sandbox: fc.string() }))),
      ips: fc.oneof(fc.jsonValue(), fc.array(fc.record({ address: fc.string(), interface: fc.integer() }))),
      dns: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(shaped, fc.jsonValue()), (value) => {
      try {
        parseResult(value, refuse);
      } catch (error) {
        expect(error).toBeInstanceOf(TvmmError);
      }
    }),
  );
});
