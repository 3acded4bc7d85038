import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TvmmError } from '../../sys/errors.js';
import { formatNetworkConfig, isInterfaceName, parseNetworkConfig } from './cni-config.js';
import { loadNetworks } from './cni-load.js';

const LIST = {
  cniVersion: '1.1.0',
  cniVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0', '9.0.0'],
  name: 'dbnet',
  plugins: [
    { type: 'bridge', bridge: 'cni0', keyA: ['x'], ipam: { type: 'host-local', subnet: '10.1.0.0/16' } },
    { type: 'tuning', capabilities: { mac: true, other: false }, sysctl: { 'net.core.somaxconn': '500' } },
  ],
};
const parse = (value: unknown) => parseNetworkConfig(JSON.stringify(value), 'x.conflist');

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-cni-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a list is read: versions that are spoken, plugins whole, capabilities that are on', () => {
  const config = parse(LIST);
  expect(config.versions).toEqual(['0.3.1', '0.4.0', '1.0.0', '1.1.0']);
  expect(config.plugins.map(({ type }) => type)).toEqual(['bridge', 'tuning']);
  expect(config.plugins[0]?.raw).toEqual(LIST.plugins[0]);
  expect(config.plugins[1]?.capabilities).toEqual(['mac']);
});

test('a single plugin’s configuration is a list of one', () => {
  const config = parse({ cniVersion: '0.4.0', name: 'one', type: 'ptp', mtu: 9000 });
  expect(config.plugins).toHaveLength(1);
  expect(config.plugins[0]?.raw.mtu).toBe(9000);
});

test('what the cache keeps is read again as the same network', () => {
  const config = parse({ ...LIST, disableCheck: 'true' });
  expect(parseNetworkConfig(formatNetworkConfig(config), 'cache')).toEqual({
    ...config,
    loadOnlyInlinedPlugins: true,
  });
});

test.each([
  [[], 'must be an object, not a list'],
  [{}, 'at /name must be a string, and is missing'],
  [{ ...LIST, name: '../x' }, '"../x" cannot be a network\'s name'],
  [{ ...LIST, name: '' }, 'cannot be a network'],
  [{ ...LIST, plugins: [] }, 'at /plugins is empty'],
  [{ ...LIST, plugins: [{}] }, 'at /plugins/0/type must be a string'],
  [{ ...LIST, plugins: [{ type: '../../bin/sh' }] }, 'at /plugins/0/type "../../bin/sh" cannot be the name'],
  [{ ...LIST, plugins: [{ type: '..' }] }, 'cannot be the name of a plugin'],
  [{ ...LIST, plugins: [{ type: 'a', ipam: { type: '/bin/sh' } }] }, 'at /plugins/0/ipam/type'],
  [
    { ...LIST, plugins: [{ type: 'a', prevResult: {} }] },
    'at /plugins/0/prevResult is for the runtime alone',
  ],
  [
    { ...LIST, plugins: [{ type: 'a', 'cni.dev/x': 1 }] },
    'at /plugins/0/cni.dev~1x is for the runtime alone',
  ],
  [
    { ...LIST, plugins: [{ type: 'a', capabilities: { mac: 'yes' } }] },
    'at /plugins/0/capabilities/mac must be true or',
  ],
  [{ ...LIST, plugins: Array.from({ length: 33 }, () => ({ type: 'a' })) }, 'more than 32 entries'],
  [{ ...LIST, plugins: undefined, loadOnlyInlinedPlugins: true }, 'loadOnlyInlinedPlugins but no plugins'],
  [{ ...LIST, cniVersion: '0.2.0', cniVersions: [] }, 'asks for 0.2.0; this runtime speaks'],
  [{ ...LIST, cniVersion: undefined, cniVersions: undefined }, 'names no cniVersion'],
  [{ ...LIST, cniVersion: '1.x' }, '"1.x" is no version'],
  [{ ...LIST, disableCheck: 1 }, 'at /disableCheck must be true or false'],
])('a configuration that is wrong is refused with the place: %j', (value, message) => {
  expect(() => parse(value)).toThrow(message);
});

test('a configuration that is no JSON, or nested without end, is refused by file name', () => {
  expect(() => parseNetworkConfig('{', 'x.conf')).toThrow('the network configuration x.conf is no JSON');
  expect(() => parseNetworkConfig('['.repeat(100_000), 'x.conf')).toThrow('nested deeper than 64');
});

test('arbitrary JSON gives a configuration or an error of ours', () => {
  const value = fc.record(
    {
      name: fc.oneof(fc.constant('n'), fc.jsonValue()),
      cniVersion: fc.constantFrom('1.0.0', 'x', 3),
      plugins: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(value, fc.jsonValue()), (json) => {
      try {
        parse(json);
      } catch (error) {
        expect(error).toBeInstanceOf(TvmmError);
      }
    }),
  );
});

test.each([
  ['eth0', true],
  ['0123456789abcde', true],
  ['0123456789abcdef', false],
  ['', false],
  ['.', false],
  ['..', false],
  ['a b', false],
  ['a/b', false],
  ['a:0', false],
  ['é', false],
])('%j is a link’s name: %s', (name, is) => {
  expect(isInterfaceName(name)).toBe(is);
});

test('a folder gives its networks in order, with the plugins beside them and the files that are wrong', () => {
  writeFileSync(join(folder, '20-b.conflist'), JSON.stringify({ cniVersion: '1.1.0', name: 'b' }));
  mkdirSync(join(folder, 'b'));
  writeFileSync(join(folder, 'b', '1.conf'), JSON.stringify({ type: 'extra' }));
  writeFileSync(join(folder, '10-a.conflist'), JSON.stringify({ ...LIST, name: 'a' }));
  writeFileSync(join(folder, '30-a.conflist'), JSON.stringify({ ...LIST, name: 'a' }));
  writeFileSync(join(folder, '40-bad.conf'), '{');
  writeFileSync(join(folder, '50-empty.conflist'), JSON.stringify({ cniVersion: '1.1.0', name: 'empty' }));
  writeFileSync(join(folder, 'README'), 'x');
  const { networks, problems } = loadNetworks(folder);
  expect(networks.map(({ config }) => [config.name, config.plugins.map(({ type }) => type)])).toEqual([
    ['a', ['bridge', 'tuning']],
    ['b', ['extra']],
  ]);
  expect(problems.map(({ message }) => message)).toEqual([
    expect.stringContaining(
      `${folder}/30-a.conflist defines the network a, which ${folder}/10-a.conflist has`,
    ),
    expect.stringContaining('40-bad.conf is no JSON'),
    expect.stringContaining('50-empty.conflist has no plugins'),
  ]);
  expect(loadNetworks(join(folder, 'missing'))).toEqual({ networks: [], problems: [] });
});
