import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { agentScript, initScript } from './init-script.js';

const options = { modules: ['modules/a.ko', 'modules/b.ko'], modulesDir: "/cache/it's/lib/modules/6.1" };

describe('the scripts of L1', () => {
  it.each([
    ['/init', initScript(options)],
    ['the agent', agentScript()],
  ])('%s is a shell program', (_what, script) => {
    const done = spawnSync('sh', ['-n'], { input: script, encoding: 'utf8' });
    expect(done.stderr).toBe('');
    expect(done.status).toBe(0);
  });

  it('load the modules in the order given, and stop at one that fails', () => {
    expect(initScript(options)).toContain('for module in modules/a.ko modules/b.ko; do');
    expect(initScript(options)).toMatch(/insmod \/\$module \|\| die/);
  });

  it('mount nothing of the host before the machine has parked', () => {
    const script = initScript(options);
    expect(script.indexOf('echo parked')).toBeGreaterThan(0);
    expect(script.indexOf('mount -t 9p')).toBeGreaterThan(script.indexOf('echo parked'));
  });

  it('mount the root of the host read-only', () => {
    expect(initScript(options)).toMatch(/mount -t 9p -o \S*cache=loose,ro hostroot /);
  });

  it('give L1 a /proc, /sys, /dev and /run of its own', () => {
    const script = initScript(options);
    expect(script).toContain('for point in dev sys proc; do');
    expect(script).toContain('tmpfs /root/run');
  });
});
