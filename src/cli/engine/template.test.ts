import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TvmmError } from '../../sys/errors.js';
import { parseTemplate } from './template.js';

const data = {
  ID: 'abc',
  Count: 2,
  Off: false,
  State: { Status: 'running', Pid: 7 },
  Names: ['a', 'b'],
  List: [{ Port: 80 }],
  Labels: new Map([
    ['tier', 'gold'],
    ['x.y', 'z'],
  ]),
};
const fill = (template: string) => parseTemplate(template)(data);

describe('a template', () => {
  it.each([
    ['{{.ID}}', 'abc'],
    ['{{ .State.Status }}-{{.Count}}', 'running-2'],
    ['{{.ID}}\\t{{.Count}}\\n', 'abc\t2\n'],
    ['{{json .State}}', '{"Status":"running","Pid":7}'],
    ['{{json .Labels}}', '{"tier":"gold","x.y":"z"}'],
    ['{{.State | json}}', '{"Status":"running","Pid":7}'],
    ['{{index .Labels "x.y"}}', 'z'],
    ['{{.Labels.tier}} {{.Labels.none}}', 'gold <no value>'],
    ['{{index .Names 1}}', 'b'],
    ['{{range .Names}}<{{.}}>{{end}}', '<a><b>'],
    ['{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}', 'tier=gold;x.y=z;'],
    ['{{range $i, $n := .Names}}{{if $i}}, {{end}}{{$n}}{{end}}', 'a, b'],
    ['{{if .Off}}on{{else if eq .Count 2}}two{{else}}none{{end}}', 'two'],
    ['{{with .State}}{{.Pid}}{{end}}', '7'],
    ['{{join .Names ","}} {{len .Names}} {{upper .ID}}', 'a,b 2 ABC'],
    ['{{.Names}} {{.Labels}} {{.State}}', '[a b] map[tier:gold x.y:z] {running 7}'],
    ['{{printf "%-5s|%d" .ID .Count}}', 'abc  |2'],
    ['{{if and (eq .ID "abc") (not .Off)}}yes{{end}}', 'yes'],
    ['{{(index .List 0).Port}}', '80'],
    ['a {{- " b " -}} c', 'a b c'],
    ['{{/* nothing */}}plain', 'plain'],
  ])('%j gives %j', (template, expected) => {
    expect(fill(template)).toBe(expected);
  });

  it.each([
    ['{{.Nope}}', /no field Nope; there are ID, Count/],
    ['{{.ID.x}}', /no field x in abc/],
    ['{{', /no }}/],
    ['{{range .Names}}', /{{end}} is missing/],
    ['{{end}}', /not understood/],
    ['{{frob .ID}}', /no function frob/],
    ['{{template "x"}}', /not understood/],
    ['{{$x := .ID}}', /only set by range/],
    ['{{.ID ?}}', /cannot be read/],
    ['{{index .Names 9}}', /no element 9/],
    ['{{constructor .ID}}', /no function constructor/],
  ])('%j is refused', (template, message) => {
    expect(() => fill(template)).toThrow(message);
  });

  it('of any text gives text, or an error that says what is wrong', () => {
    const piece = fc.constantFrom(
      '{{',
      '}}',
      '.ID',
      'range',
      'if',
      'end',
      ' ',
      '|',
      '(',
      ')',
      '"a"',
      '$',
      '-',
      'json',
      '.',
    );
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        try {
          expect(typeof fill(pieces.join(''))).toBe('string');
        } catch (error) {
          expect(error).toBeInstanceOf(TvmmError);
        }
      }),
    );
  });
});
