import { describe, expect, it } from 'vitest';
import { CONTAINER_EVENTS, CONTAINER_STATES, type ContainerState, transition } from './lifecycle.js';

const next = (state: ContainerState, event: (typeof CONTAINER_EVENTS)[number]) => {
  const result = transition(state, event);
  return 'next' in result ? result.next : result.problem;
};

describe('the life of a container', () => {
  it('goes from created over running and paused to stopped, and starts again', () => {
    expect(next('created', 'start')).toBe('running');
    expect(next('running', 'pause')).toBe('paused');
    expect(next('paused', 'unpause')).toBe('running');
    expect(next('running', 'end')).toBe('stopped');
    expect(next('stopped', 'start')).toBe('running');
  });

  it('removes what does not run, and what runs only by force', () => {
    expect(next('created', 'remove')).toBe('deleted');
    expect(next('stopped', 'remove')).toBe('deleted');
    expect(next('running', 'remove')).toBe('runs');
    expect(next('paused', 'remove')).toBe('is paused');
    for (const state of ['created', 'running', 'paused', 'stopped'] as const)
      expect(next(state, 'force-remove')).toBe('deleted');
  });

  it('refuses to exec, stop, kill or pause what does not run', () => {
    for (const state of ['created', 'stopped'] as const)
      for (const event of ['exec', 'stop', 'kill', 'pause', 'unpause'] as const)
        expect(next(state, event)).toBe('does not run');
  });

  it('restarts from every state but deleted', () => {
    for (const state of ['created', 'running', 'paused', 'stopped'] as const)
      expect(next(state, 'restart')).toBe('running');
  });

  it('takes the end of a container twice, since two commands may see it', () => {
    expect(next('stopped', 'end')).toBe('stopped');
  });

  it('answers every event in every state, and a deleted container none', () => {
    for (const state of CONTAINER_STATES)
      for (const event of CONTAINER_EVENTS) expect(next(state, event)).toBeTypeOf('string');
    for (const event of CONTAINER_EVENTS) expect(next('deleted', event)).toBe('is deleted');
  });
});
