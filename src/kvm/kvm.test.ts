import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KVM, KVM_CAP, KVM_EXIT } from './ioctl.js';
import type { StructType } from './layout.js';
import * as structs from './structs.js';

/** Fields whose name or type differs on purpose: opaque byte runs and flexible parts. */
const OPAQUE = new Set(['kvm_vcpu_events.bytes', 'kvm_irq_routing_entry.u', 'kvm_run.padding1']);
const facts = new Map<string, number>();
let folder = '';

function isStruct(value: unknown): value is StructType {
  return typeof value === 'object' && value !== null && 'offsets' in value;
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-layout-'));
  const lines: string[] = [];
  const show = (label: string, expression: string) =>
    lines.push(`printf("${label} %llu\\n", (unsigned long long)(${expression}));`);
  for (const [name, { name: cName }] of Object.entries(KVM)) show(`ioctl.${name}`, cName);
  for (const name of Object.keys(KVM_CAP)) show(`cap.${name}`, `KVM_CAP_${name}`);
  for (const name of Object.keys(KVM_EXIT)) show(`exit.${name}`, `KVM_EXIT_${name}`);
  for (const type of Object.values(structs).filter(isStruct)) {
    if (type.name !== 'kvm_run') show(`size.${type.name}`, `sizeof(struct ${type.name})`);
    for (const field of Object.keys(type.fields)) {
      if (OPAQUE.has(`${type.name}.${field}`)) continue;
      show(`offset.${type.name}.${field}`, `offsetof(struct ${type.name}, ${field})`);
    }
  }
  const source = join(folder, 'facts.c');
  writeFileSync(
    source,
    `#include <stdio.h>\n#include <stddef.h>\n#include <linux/kvm.h>\nint main(void){${lines.join('\n')}return 0;}\n`,
  );
  execFileSync('gcc', ['-o', join(folder, 'facts'), source]);
  for (const line of execFileSync(join(folder, 'facts'), { encoding: 'utf8' }).trim().split('\n')) {
    const [label, value] = line.split(' ');
    facts.set(label, Number(value));
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('every ioctl number is what the kernel headers say', () => {
  const ours = Object.fromEntries(Object.entries(KVM).map(([name, { request }]) => [name, request]));
  const theirs = Object.fromEntries(Object.keys(KVM).map((name) => [name, facts.get(`ioctl.${name}`)]));
  expect(ours).toEqual(theirs);
});

test('every capability and exit reason is what the kernel headers say', () => {
  for (const [name, value] of Object.entries(KVM_CAP)) expect(value, name).toBe(facts.get(`cap.${name}`));
  for (const [name, value] of Object.entries(KVM_EXIT)) expect(value, name).toBe(facts.get(`exit.${name}`));
});

test.each(
  Object.values(structs)
    .filter(isStruct)
    .map((type) => [type.name, type] as const),
)('struct %s has the size and offsets that gcc gives it', (name, type) => {
  if (name !== 'kvm_run') expect(type.size).toBe(facts.get(`size.${name}`));
  for (const field of Object.keys(type.fields)) {
    if (OPAQUE.has(`${name}.${field}`)) continue;
    const offsets: Readonly<Record<string, number>> = type.offsets;
    expect(offsets[field], `${name}.${field}`).toBe(facts.get(`offset.${name}.${field}`));
  }
});
