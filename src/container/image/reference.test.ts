import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ImageNameError } from './errors.js';
import { familiarName, formatReference, parseReference } from './reference.js';

const HEX = 'a'.repeat(64);

describe('parseReference', () => {
  it.each([
    ['debian', 'docker.io/library/debian:latest'],
    ['debian:12', 'docker.io/library/debian:12'],
    ['team/app', 'docker.io/team/app:latest'],
    ['docker.io/debian', 'docker.io/library/debian:latest'],
    ['index.docker.io/library/debian', 'docker.io/library/debian:latest'],
    ['localhost/app', 'localhost/app:latest'],
    ['localhost:5000/a/b/c:v1.0', 'localhost:5000/a/b/c:v1.0'],
    ['[::1]:5000/app', '[::1]:5000/app:latest'],
    ['127.0.0.1:80/app', '127.0.0.1:80/app:latest'],
    [`debian@sha256:${HEX}`, `docker.io/library/debian@sha256:${HEX}`],
    [`quay.io/a/b:t@sha256:${HEX}`, `quay.io/a/b:t@sha256:${HEX}`],
    ['a__b/c-d--e.f', 'docker.io/a__b/c-d--e.f:latest'],
  ])('reads %s as %s', (text, whole) => {
    expect(formatReference(parseReference(text))).toBe(whole);
  });

  it.each([
    ['', 'empty'],
    ['Debian', 'lower case'],
    ['a b', 'space'],
    ['a\0b', 'control'],
    ['https://host/app', 'URL'],
    ['debian:', 'not a tag'],
    [`debian:${'x'.repeat(129)}`, 'not a tag'],
    ['debian:a/b', 'not a host'],
    ['debian@sha256:abc', 'digest'],
    [`debian@md5:${HEX}`, 'digest'],
    [`debian@sha256:${HEX.toUpperCase()}`, 'digest'],
    ['../etc', 'not a host'],
    ['a/../b', 'cannot be part'],
    ['a//b', 'cannot be part'],
    ['host.example:99999/app', 'not a host'],
    ['host.example:0/app', 'not a host'],
    ['host.example/', 'missing'],
    ['user@host/app', 'digest'],
    [`${'a/'.repeat(130)}b`, 'longer'],
  ])('refuses %j', (text, why) => {
    expect(() => parseReference(text)).toThrow(why);
  });

  it('gives the same reference for its own output, and only ReferenceErrors for anything else', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9./:@_[\]-]{1,40}$/)), (text) => {
        try {
          const reference = parseReference(text);
          expect(parseReference(formatReference(reference))).toEqual(reference);
          expect(parseReference(familiarName(reference))).toEqual(reference);
        } catch (error) {
          expect(error).toBeInstanceOf(ImageNameError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('shortens names as people write them', () => {
    expect(familiarName(parseReference('docker.io/library/debian:12'))).toBe('debian:12');
    expect(familiarName(parseReference('localhost/debian'))).toBe('localhost/debian:latest');
  });
});
