import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseImageConfig } from './config.js';
import { chainIds, digestOf } from './digest.js';
import { ImageFormatError } from './errors.js';
import {
  compressionOf,
  type Index,
  MEDIA,
  parseManifest,
  parsePlatform,
  selectManifest,
} from './manifest.js';

const DIGEST = digestOf('x');
const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const manifest = {
  schemaVersion: 2,
  mediaType: MEDIA.manifest,
  config: { mediaType: MEDIA.config, digest: DIGEST, size: 10 },
  layers: [{ mediaType: MEDIA.layerGzip, digest: DIGEST, size: 20 }],
};

describe('parseManifest', () => {
  it('reads a manifest', () => {
    expect(parseManifest(bytes(manifest), 'm')).toMatchObject({ kind: 'manifest', layers: [{ size: 20 }] });
  });

  it.each([
    [{ ...manifest, schemaVersion: 1 }, 'schema 1'],
    [{ ...manifest, schemaVersion: '2' }, '/schemaVersion'],
    [{ ...manifest, mediaType: 'application/json' }, 'not an image'],
    [{ ...manifest, manifests: [] }, 'both a manifest and an index'],
    [{ ...manifest, config: undefined }, '/config'],
    [{ ...manifest, layers: [{ ...manifest.layers[0], digest: 'sha256:../../etc' }] }, '/layers/0/digest'],
    [{ ...manifest, layers: [{ ...manifest.layers[0], size: -1 }] }, '/layers/0/size'],
    [{ ...manifest, layers: [{ ...manifest.layers[0], size: 2 ** 50 }] }, 'more than'],
    [{ ...manifest, config: { ...manifest.config, size: 2 ** 30 } }, '/config/size'],
    [{ ...manifest, layers: new Array(128).fill(manifest.layers[0]) }, '128 layers'],
    [[], 'object is expected'],
  ])('refuses a bad manifest %#', (value, why) => {
    expect(() => parseManifest(bytes(value), 'm')).toThrow(why);
  });

  it('answers any JSON with a document or an ImageFormatError', () => {
    const parse = (text: string) => {
      for (const read of [parseManifest, parseImageConfig]) {
        try {
          read(Buffer.from(text), 'd');
        } catch (error) {
          expect(error).toBeInstanceOf(ImageFormatError);
        }
      }
    };
    fc.assert(fc.property(fc.json(), parse));
    const part = fc.oneof(fc.jsonValue(), fc.constant(manifest.config), fc.constant(manifest.layers));
    const shape = fc.record(
      {
        schemaVersion: fc.constant(2),
        config: part,
        layers: part,
        manifests: part,
        rootfs: part,
        mediaType: fc.constantFrom(...Object.values(MEDIA)),
      },
      { requiredKeys: [] },
    );
    fc.assert(fc.property(shape, (value) => parse(JSON.stringify(value))));
  });
});

describe('selectManifest', () => {
  const image = (os: string, architecture: string, mediaType: string = MEDIA.manifest) => ({
    mediaType,
    digest: digestOf(`${os}${architecture}`),
    size: 1,
    platform: { os, architecture },
  });
  const index: Index = {
    kind: 'index',
    mediaType: MEDIA.index,
    manifests: [
      image('linux', 'arm64'),
      image('linux', 'amd64', 'application/other'),
      image('linux', 'amd64'),
    ],
  };

  it('takes the first image of the platform', () => {
    expect(selectManifest(index, parsePlatform('linux/amd64'), 'i')).toBe(index.manifests[2]);
  });

  it('says which platforms there are when none fits', () => {
    expect(() => selectManifest(index, parsePlatform('linux/riscv64'), 'i')).toThrow(
      expect.objectContaining({
        code: 'PLATFORM_MISSING',
        hint: expect.stringContaining('linux/arm64, linux/amd64'),
      }),
    );
  });
});

describe('compressionOf', () => {
  it('knows tar, gzip and zstd, and refuses foreign layers', () => {
    expect(compressionOf(MEDIA.layer)).toBe('none');
    expect(compressionOf(MEDIA.dockerLayerGzip)).toBe('gzip');
    expect(compressionOf(MEDIA.layerZstd)).toBe('zstd');
    expect(() => compressionOf('application/vnd.docker.image.rootfs.foreign.diff.tar.gzip')).toThrow(
      'cannot be unpacked',
    );
  });
});

describe('parseImageConfig', () => {
  it('reads what Docker writes, nulls included', () => {
    const config = parseImageConfig(
      bytes({
        os: 'linux',
        architecture: 'amd64',
        config: {
          Env: ['A=b'],
          Cmd: ['sh'],
          Entrypoint: null,
          ExposedPorts: { '80/tcp': {} },
          Volumes: null,
          User: 'www',
        },
        rootfs: { type: 'layers', diff_ids: [DIGEST] },
      }),
      'c',
    );
    expect(config.config).toMatchObject({
      env: ['A=b'],
      cmd: ['sh'],
      entrypoint: [],
      exposedPorts: ['80/tcp'],
      user: 'www',
    });
  });

  it.each([
    [{ config: {} }, '/rootfs'],
    [{ rootfs: { type: 'other', diff_ids: [] } }, '/rootfs/type'],
    [{ rootfs: { type: 'layers', diff_ids: ['x'] } }, '/rootfs/diff_ids/0'],
    [{ rootfs: { type: 'layers', diff_ids: [] }, config: { Env: ['=x'] } }, 'NAME=VALUE'],
    [{ rootfs: { type: 'layers', diff_ids: [] }, config: { ExposedPorts: { 'x;y': {} } } }, 'not a port'],
    [{ rootfs: { type: 'layers', diff_ids: [] }, config: { Cmd: 'sh' } }, '/config/Cmd'],
  ])('refuses a bad configuration %#', (value, why) => {
    expect(() => parseImageConfig(bytes(value), 'c')).toThrow(why);
  });
});

describe('chainIds', () => {
  it('follows the specification', () => {
    const [a, b] = [digestOf('a'), digestOf('b')];
    expect(chainIds([a, b])).toEqual([a, digestOf(`${a} ${b}`)]);
    expect(chainIds([])).toEqual([]);
  });
});
