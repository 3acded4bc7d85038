/** A folder stands in for the resctrl file system: few processors have one, and its files are plain text. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { OciIntelRdt } from '../spec/types.js';
import { makeResctrl, planResctrl, removeResctrl } from './resctrl.js';

let mount = '';
beforeEach(() => {
  mount = mkdtempSync(join(tmpdir(), 'tvmm-resctrl-'));
  mkdirSync(join(mount, 'mon_groups'));
});
afterEach(() => rmSync(mount, { recursive: true }));

function make(rdt: OciIntelRdt) {
  const state = planResctrl(mount, 'web', rdt);
  makeResctrl(mount, 'web', rdt);
  return state;
}

function classWith(name: string, schemata: string): void {
  mkdirSync(join(mount, name, 'mon_groups'), { recursive: true });
  writeFileSync(join(mount, name, 'schemata'), schemata);
}

describe('a class of service', () => {
  it('has the container’s id where none is named, and goes with it', () => {
    const state = make({ l3CacheSchema: 'L3:0=7f', memBwSchema: 'MB:0=20', schemata: ['L2:1=f', 'L2:0=3'] });
    expect(state).toEqual({ tasks: [join(mount, 'web/tasks')], remove: [join(mount, 'web')] });
    // In the order that the specification demands.
    expect(readFileSync(join(mount, 'web/schemata'), 'utf8')).toBe('L3:0=7f\nMB:0=20\nL2:1=f\nL2:0=3\n');
    // The kernel removes a class with its files; a plain folder must be empty.
    rmSync(join(mount, 'web/schemata'));
    removeResctrl(state);
    removeResctrl(state);
    expect(readdirSync(mount)).toEqual(['mon_groups']);
  });

  it('is the default one for "/", and nothing is written without schemata', () => {
    expect(make({ closID: '/' })).toEqual({ tasks: [join(mount, 'tasks')], remove: [] });
    expect(readdirSync(mount)).toEqual(['mon_groups']);
  });

  it('that is named is made with its schemata, and stays behind', () => {
    expect(make({ closID: 'gold', schemata: ['MB:0=50'] })).toEqual({
      tasks: [join(mount, 'gold/tasks')],
      remove: [],
    });
    expect(readFileSync(join(mount, 'gold/schemata'), 'utf8')).toBe('MB:0=50\n');
  });

  it('that is named without schemata must be there', () => {
    expect(() => make({ closID: 'gold' })).toThrow(`no class of service gold in ${mount}`);
    classWith('gold', '');
    expect(make({ closID: 'gold' }).tasks).toEqual([join(mount, 'gold/tasks')]);
  });

  it('that is there must have the schemata of the configuration, and is not written to', () => {
    const text = '    L3:0=07f;1=7F0\n    MB:0= 50;1= 90\n';
    classWith('gold', text);
    make({ closID: 'gold', l3CacheSchema: 'L3:1=7f0', memBwSchema: 'MB:0=50' });
    expect(() => make({ closID: 'gold', memBwSchema: 'MB:0=60' })).toThrow('has MB:0=50, not MB:0=60');
    expect(() => make({ closID: 'gold', schemata: ['L2:0=1'] })).toThrow('has L2:0=nothing');
    expect(readFileSync(join(mount, 'gold/schemata'), 'utf8')).toBe(text);
  });
});

it('a monitoring group stands in the class, is joined behind it, and goes with the container', () => {
  classWith('gold', '');
  const monitor = join(mount, 'gold/mon_groups/web');
  const state = make({ closID: 'gold', enableMonitoring: true });
  expect(state).toEqual({ tasks: [join(mount, 'gold/tasks'), join(monitor, 'tasks')], remove: [monitor] });
  removeResctrl(state);
  expect(readdirSync(join(mount, 'gold/mon_groups'))).toEqual([]);
});

it('a monitoring group that cannot be made is an error', () => {
  classWith('gold', '');
  mkdirSync(join(mount, 'gold/mon_groups/web'));
  expect(() => make({ closID: 'gold', enableMonitoring: true })).toThrow('cannot make the monitoring group');
});
