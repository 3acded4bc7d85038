import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { CreateContext } from '../compile/context.js';
import { compileCreate } from '../compile/create.js';
import { cgroupV1, createContext, minimal, podmanLike, seccompOf } from '../compile/testing/fixtures.js';
import { encodePlan } from '../plan/encode.js';
import type { Bundle } from '../runtime/bundle.js';
import { PlanCache } from './plan-cache.js';

function bundleOf(spec = minimal()): Bundle {
  const text = JSON.stringify(spec, (_, value) => (typeof value === 'bigint' ? Number(value) : value));
  return { path: '/bundle', rootfs: '/bundle/rootfs', spec, text };
}

/** As prepareCreate makes it: the id stands in paths. */
function contextFor(id: string, more: Partial<CreateContext> = {}): CreateContext {
  return createContext({
    id,
    execFifo: `/run/tvmm/${id}/exec.fifo`,
    cgroup: { ...cgroupV1, tasks: cgroupV1.tasks.map((path) => path.replace('web', id)) },
    ...more,
  });
}

const id = fc.stringMatching(/^[A-Za-z0-9_-]{8,40}$/);

test('a cached plan has the bytes of one that is compiled for its id', () => {
  const cache = new PlanCache();
  fc.assert(
    fc.property(id, fc.constantFrom(minimal(), podmanLike()), (name, spec) => {
      const context = contextFor(name, seccompOf(spec));
      const plan = cache.compile(bundleOf(spec), context);
      const expected = encodePlan(compileCreate(spec, context));
      expect(Buffer.compare(cache.prepared(plan)?.bytes() ?? new Uint8Array(), expected)).toBe(0);
    }),
    { numRuns: 40 },
  );
});

test('the second container of a bundle is not compiled', () => {
  const cache = new PlanCache();
  const bundle = bundleOf();
  const first = cache.compile(bundle, contextFor('container-1'));
  const second = cache.compile(bundle, contextFor('container-2'));
  expect(cache.size).toBe(1);
  expect(second.programs).toBe(first.programs);
});

test.each<[string, Bundle, CreateContext]>([
  ['configuration', bundleOf(minimal({ hostname: 'other' })), contextFor('container-2')],
  ['root', { ...bundleOf(), rootfs: '/other' }, contextFor('container-2')],
  ['descriptors', bundleOf(), contextFor('container-2', { control: 5, preserveFds: 2 })],
  ['home', bundleOf(), contextFor('container-2', { home: '/root' })],
])('another %s is another plan', (_, bundle, context) => {
  const cache = new PlanCache();
  cache.compile(bundleOf(), contextFor('container-1'));
  cache.compile(bundle, context);
  expect(cache.size).toBe(2);
});

test('an id that a path may hold by chance is compiled each time', () => {
  const cache = new PlanCache();
  const plan = cache.compile(bundleOf(), contextFor('run'));
  expect(cache.prepared(plan)).toBeUndefined();
  expect(cache.size).toBe(0);
});

test('an id that stands in the configuration as well stays what it is there', () => {
  const cache = new PlanCache();
  const spec = minimal({ hostname: 'container-1' });
  cache.compile(bundleOf(spec), contextFor('container-1'));
  const plan = cache.compile(bundleOf(spec), contextFor('container-2'));
  const expected = encodePlan(compileCreate(spec, contextFor('container-2')));
  expect(Buffer.compare(cache.prepared(plan)?.bytes() ?? new Uint8Array(), expected)).toBe(0);
});

test('the sentence of a failed step names the container itself', () => {
  const cache = new PlanCache();
  cache.compile(bundleOf(), contextFor('container-1'));
  const plan = cache.compile(bundleOf(), contextFor('container-2'));
  const exact = cache.prepared(plan)?.exact();
  expect(exact).toEqual(compileCreate(bundleOf().spec, contextFor('container-2')));
});

test('it holds a bounded number of plans', () => {
  const cache = new PlanCache();
  for (let index = 0; index < 80; index++)
    cache.compile(bundleOf(minimal({ hostname: `host-${index}` })), contextFor('container-1'));
  expect(cache.size).toBe(64);
});
