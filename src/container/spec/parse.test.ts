import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SpecError } from './errors.js';
import { MAX_SPEC_DEPTH, parseProcess, parseResources, parseSpec } from './parse.js';
import { fullConfig } from './testing/full-config.js';

const minimal = {
  ociVersion: '1.2.0',
  root: { path: 'rootfs' },
  process: { args: ['sh'], cwd: '/', user: { uid: 0, gid: 0 } },
  linux: { namespaces: [{ type: 'mount' }, { type: 'pid' }] },
};

/** The problems of a document, as `path message`. */
function problemsOf(document: unknown): readonly string[] {
  try {
    parseSpec(document);
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    return error.problems.map(({ path, message }) => `${path} ${message}`);
  }
  return [];
}

function withLinux(linux: object): object {
  return { ...minimal, linux: { ...minimal.linux, ...linux } };
}

function withProcess(process: object): object {
  return { ...minimal, process: { ...minimal.process, ...process } };
}

describe('parseSpec', () => {
  it('reads the smallest document, as text and as an object', () => {
    const spec = parseSpec(JSON.stringify(minimal));
    expect(spec).toEqual(parseSpec(minimal));
    expect(spec.process?.args).toEqual(['sh']);
    expect(spec.hostname).toBeUndefined();
  });

  it('reads every member, and changes none', () => {
    const { linux, process, ...rest } = parseSpec(JSON.stringify(fullConfig));
    const { personality, timeOffsets, ...others } = fullConfig.linux;
    expect(rest).toEqual({
      ociVersion: fullConfig.ociVersion,
      root: fullConfig.root,
      hostname: fullConfig.hostname,
      domainname: fullConfig.domainname,
      mounts: fullConfig.mounts,
      hooks: fullConfig.hooks,
      annotations: fullConfig.annotations,
    });
    expect(linux).toEqual({
      ...others,
      personality: { domain: personality.domain },
      timeOffsets: { monotonic: { secs: -60n, nanosecs: 500 }, boottime: { secs: 604_800n } },
    });
    expect(Object.keys(timeOffsets)).toHaveLength(2);
    expect(process).toEqual({
      ...fullConfig.process,
      rlimits: [
        { type: 'RLIMIT_CORE', hard: 1024n, soft: 1024n },
        { type: 'RLIMIT_NOFILE', hard: 4096n, soft: 1024n },
      ],
    });
  });

  it('keeps RLIM_INFINITY exact, which no double can', () => {
    const text = JSON.stringify(minimal).replace(
      '"cwd"',
      '"rlimits":[{"type":"RLIMIT_NOFILE","soft":18446744073709551614,"hard":18446744073709551615}],"cwd"',
    );
    expect(parseSpec(text).process?.rlimits?.[0]).toEqual({
      type: 'RLIMIT_NOFILE',
      soft: 2n ** 64n - 2n,
      hard: 2n ** 64n - 1n,
    });
  });

  it('ignores unknown members, and reads null and empty strings as absence', () => {
    const spec = parseSpec({
      ...minimal,
      vendor: { anything: [1] },
      hostname: '',
      mounts: null,
      process: { ...minimal.process, apparmorProfile: '', unknown: 3 },
    });
    expect(spec).toEqual(parseSpec(minimal));
  });

  it('tells several problems at once, each with its place', () => {
    expect(
      problemsOf({
        ociVersion: '1.0.0',
        root: {},
        process: {
          args: [3],
          cwd: 'here',
          env: 'PATH=/bin',
          rlimits: [{ type: 'RLIMIT_FOO', soft: 1, hard: 1 }],
        },
      }),
    ).toEqual([
      'process.args[0] must be a string, not 3',
      'process.env must be an array, not "PATH=/bin"',
      'process.cwd must be an absolute path, not "here"',
      'process.rlimits[0].type is no resource of getrlimit(2): "RLIMIT_FOO"',
      'root.path is missing',
    ]);
  });

  it('says in its message what is wrong and how much more there is', () => {
    expect(() =>
      parseSpec({ ociVersion: '1.0.0', root: { path: 'rootfs' }, process: { args: [], cwd: '/' } }),
    ).toThrow('process.args must have at least one element: the program');
    const many = { ...minimal, mounts: Array.from({ length: 9 }, () => 7) };
    expect(() => parseSpec(many)).toThrow(/and 4 more$/);
  });

  it.each([
    ['1', 'must be a version such as "1.2.0", not "1"'],
    ['1.2', 'must be a version such as "1.2.0", not "1.2"'],
    ['2.0.0', 'must be a version 1.x of the specification, not 2.0.0'],
    ['0.9.0', 'must be a version 1.x of the specification, not 0.9.0'],
    ['', 'must not be empty'],
  ])('refuses version %j', (ociVersion, problem) => {
    expect(problemsOf({ ...minimal, ociVersion })[0]).toBe(`ociVersion ${problem}`);
  });

  it.each(['1.0.0', '1.0.2-dev', '1.3.0+dev', '1.0.0-rc5-dev', '1.14.2'])(
    'takes version %j',
    (ociVersion) => {
      expect(problemsOf({ ...minimal, ociVersion })).toEqual([]);
    },
  );

  it('refuses NUL characters wherever a string goes to the kernel', () => {
    expect(problemsOf(withProcess({ args: ['sh\0x'], cwd: '/a\0b', env: ['A=\0'] }))).toEqual([
      'process.args[0] must not hold a NUL character',
      'process.env[0] must not hold a NUL character',
      'process.cwd must not hold a NUL character',
    ]);
    expect(problemsOf(withLinux({ maskedPaths: ['/proc/\0kcore'] }))).toEqual([
      'linux.maskedPaths[0] must not hold a NUL character',
    ]);
    expect(problemsOf(withLinux({ sysctl: { 'net.\0x': '1' } }))[0]).toContain(
      'has a NUL character in its name',
    );
  });

  it('refuses what is no object, no JSON, too large or too deep', () => {
    for (const document of ['[]', '3', 'null', '""', undefined, [minimal]]) {
      expect(() => parseSpec(document)).toThrow('the document must be a JSON object');
    }
    expect(() => parseSpec('{"ociVersion":')).toThrow(/^the document is not JSON: /);
    expect(() => parseSpec(' '.repeat(16 * 2 ** 20 + 1))).toThrow('must not be larger than 16 MiB');
    const deep = `${'['.repeat(MAX_SPEC_DEPTH)}${']'.repeat(MAX_SPEC_DEPTH)}`;
    expect(() => parseSpec(`{"x":${deep}}`)).toThrow('nested deeper');
    expect(() => parseSpec('['.repeat(5_000_000))).toThrow('nested deeper');
    const cycle: Record<string, unknown> = {};
    cycle.itself = cycle;
    expect(() => parseSpec(cycle)).toThrow('nested deeper');
  });

  it('does not take brackets in strings for depth', () => {
    expect(problemsOf(JSON.stringify({ ...minimal, annotations: { a: '[\\"['.repeat(100) } }))).toEqual([]);
  });

  it('keeps a key that is the name of a prototype what it is: a key', () => {
    const spec = parseSpec(JSON.stringify(minimal).replace('{', '{"annotations":{"__proto__":"x"},'));
    expect(Object.entries(spec.annotations ?? {})).toEqual([['__proto__', 'x']]);
    expect(Object.getPrototypeOf(spec.annotations)).toBe(Object.prototype);
  });
});

describe('contradictions', () => {
  it('refuses a namespace twice, and one that does not exist', () => {
    expect(
      problemsOf(withLinux({ namespaces: [{ type: 'pid' }, { type: 'pid', path: '/proc/1/ns/pid' }] })),
    ).toEqual(['linux.namespaces[1].type repeats the pid namespace']);
    expect(problemsOf(withLinux({ namespaces: [{ type: 'net' }] }))[0]).toMatch(
      /^linux\.namespaces\[0\]\.type must be one of user, .* not "net"$/,
    );
    expect(problemsOf(withLinux({ namespaces: [{ type: 'pid', path: 'ns/pid' }] }))).toEqual([
      'linux.namespaces[0].path must be an absolute path, not "ns/pid"',
    ]);
  });

  it("refuses what would change the host's names, mounts and clocks", () => {
    const document = {
      ...minimal,
      root: { path: 'rootfs', readonly: true },
      hostname: 'h',
      domainname: 'd',
      mounts: [{ destination: '/proc', type: 'proc' }],
      linux: {
        maskedPaths: ['/proc/kcore'],
        netDevices: { eth0: {} },
        timeOffsets: { boottime: { secs: 1 } },
      },
    };
    expect(problemsOf(document).map((problem) => problem.split(':')[0])).toEqual([
      'hostname needs a uts namespace in linux.namespaces',
      'domainname needs a uts namespace in linux.namespaces',
      'linux.netDevices needs a network namespace in linux.namespaces',
      'linux.timeOffsets needs a time namespace in linux.namespaces',
    ]);
  });

  it('refuses id mappings without a user namespace, a new user namespace without mappings, and ranges that overlap', () => {
    const mapping = { containerID: 0, hostID: 1000, size: 10 };
    expect(problemsOf(withLinux({ uidMappings: [mapping] }))).toEqual([
      'linux.uidMappings needs a user namespace in linux.namespaces: there is nothing to map',
    ]);
    expect(problemsOf(withLinux({ namespaces: [{ type: 'user' }] }))).toHaveLength(2);
    expect(problemsOf(withLinux({ namespaces: [{ type: 'user', path: '/proc/7/ns/user' }] }))).toEqual([]);
    const overlap = {
      uidMappings: [mapping, { containerID: 5, hostID: 5000, size: 10 }],
      gidMappings: [mapping],
    };
    expect(problemsOf(withLinux({ namespaces: [{ type: 'user' }], ...overlap }))).toEqual([
      'linux.uidMappings must not overlap: containerID 0, size 10, reaches 5',
    ]);
    const beyond = [{ containerID: 0, hostID: 2 ** 32 - 5, size: 10 }];
    expect(
      problemsOf(withLinux({ namespaces: [{ type: 'user' }], uidMappings: beyond, gidMappings: beyond })),
    ).toHaveLength(2);
  });

  it('refuses bind mounts without source, and mappings that cannot be applied', () => {
    const mount = (members: object) =>
      problemsOf({ ...minimal, mounts: [{ destination: '/data', ...members }] });
    expect(mount({ options: ['rbind'] })).toEqual(['mounts[0].source is missing: a bind mount needs one']);
    expect(mount({ source: '/a', options: ['bind', 'idmap'] })[0]).toContain(
      'neither mappings nor a user namespace',
    );
    const map = [{ containerID: 0, hostID: 0, size: 1 }];
    expect(mount({ source: '/a', options: ['bind'], uidMappings: map })).toEqual([
      'mounts[0] must have both uidMappings and gidMappings, or neither',
    ]);
    expect(mount({ type: 'tmpfs', uidMappings: map, gidMappings: map })[0]).toContain('only bind mounts');
  });

  it('refuses scheduler members that do not go with the policy', () => {
    const scheduler = (members: object) => problemsOf(withProcess({ scheduler: members }));
    expect(scheduler({ policy: 'SCHED_OTHER', priority: 3 })[0]).toContain(
      'process.scheduler.priority must be 1 to 99',
    );
    expect(scheduler({ policy: 'SCHED_RR', priority: 3 })).toEqual([]);
    expect(scheduler({ policy: 'SCHED_FIFO', runtime: 1 })).toEqual([
      'process.scheduler.runtime goes with SCHED_DEADLINE only, not with SCHED_FIFO',
    ]);
    expect(scheduler({ policy: 'SCHED_BATCH', nice: 20 })[0]).toContain('-20 to 19');
    expect(scheduler({})).toEqual(['process.scheduler.policy is missing']);
  });

  it('refuses a memory policy whose mode and nodes do not go together', () => {
    const policy = (memoryPolicy: object) => problemsOf(withLinux({ memoryPolicy }));
    expect(policy({ mode: 'MPOL_BIND' })).toEqual([
      'linux.memoryPolicy.nodes must name at least one node with MPOL_BIND',
    ]);
    expect(policy({ mode: 'MPOL_LOCAL', nodes: '0' })).toEqual([
      'linux.memoryPolicy.nodes must be empty with MPOL_LOCAL',
    ]);
    expect(policy({ mode: 'MPOL_INTERLEAVE', nodes: '0-1', flags: ['MPOL_F_STATIC_NODES'] })).toEqual([]);
  });

  it('refuses members that need one of two, an I/O priority without its level, and annotations without a name', () => {
    expect(
      [
        ...problemsOf({
          ...minimal,
          annotations: { '': 'x' },
          process: { args: ['sh'], cwd: '/', ioPriority: { class: 'IOPRIO_CLASS_BE' } },
          linux: { resources: { rdma: { mlx5: {} }, blockIO: { weightDevice: [{ major: 8, minor: 0 }] } } },
        }),
      ].sort(),
    ).toEqual([
      expect.stringMatching(/annotations.* has an empty name/),
      expect.stringMatching(/weightDevice\[0\].* weight or leafWeight/),
      expect.stringMatching(/rdma\.mlx5.* hcaHandles or hcaObjects/),
      expect.stringMatching(/ioPriority\.priority/),
    ]);
  });

  it('refuses a rlimit twice, and a soft limit above the hard one', () => {
    const rlimit = { type: 'RLIMIT_CORE', soft: 1, hard: 0 };
    expect(problemsOf(withProcess({ rlimits: [rlimit, { ...rlimit, soft: 0 }] }))).toEqual([
      'process.rlimits[0].soft must not exceed the hard limit 0, and is 1',
      'process.rlimits[1].type repeats RLIMIT_CORE',
    ]);
  });

  it("tells a seccomp profile's problem in the document's terms", () => {
    const seccomp = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['read'], action: 'NO' }] };
    expect(problemsOf(withLinux({ seccomp }))[0]).toMatch(
      /^linux\.seccomp\.syscalls\[0\]\.action is wrong: "NO" is no action/,
    );
  });

  it('refuses devices without numbers and with types that do not exist, and relative masked paths', () => {
    expect(
      problemsOf(
        withLinux({
          devices: [
            { type: 'c', path: '/dev/x' },
            { type: 'x', path: 'dev/y', major: 1, minor: 2 },
            { type: 'p', path: '/run/p' },
          ],
          maskedPaths: ['proc/kcore'],
        }),
      ),
    ).toEqual([
      'linux.devices[0].major is missing',
      'linux.devices[0].minor is missing',
      'linux.devices[1].type must be one of c, b, u, p, not "x"',
      'linux.devices[1].path must be an absolute path, not "dev/y"',
      'linux.maskedPaths[0] must be an absolute path, not "proc/kcore"',
    ]);
  });
});

describe('parts on their own', () => {
  it('reads the process of an exec', () => {
    expect(parseProcess('{"args":["ls"],"cwd":"/","user":{"uid":1,"gid":2,"additionalGids":[3]}}')).toEqual({
      args: ['ls'],
      cwd: '/',
      user: { uid: 1, gid: 2, additionalGids: [3] },
    });
    expect(() => parseProcess({ args: ['ls'] })).toThrow('cwd is missing');
  });

  it('reads the resources of an update', () => {
    expect(parseResources({ memory: { limit: -1 }, pids: { limit: 0 }, unified: { 'io.max': 'x' } })).toEqual(
      {
        memory: { limit: -1 },
        pids: { limit: 0 },
        unified: { 'io.max': 'x' },
      },
    );
    expect(() => parseResources({ unified: { '../x': '1' } })).toThrow('is not the name of a cgroup file');
    expect(() => parseResources({ cpu: { quota: 10, burst: 20 } })).toThrow(
      'cpu.burst must not exceed the quota 10',
    );
  });
});

describe('hostile documents', () => {
  const run = (document: unknown) => {
    try {
      parseSpec(document);
    } catch (error) {
      if (!(error instanceof SpecError)) throw error;
      expect(error.problems.length).toBeGreaterThan(0);
    }
  };

  it('throws nothing but SpecError for any text and any JSON', () => {
    fc.assert(fc.property(fc.string(), run), { numRuns: 300 });
    fc.assert(fc.property(fc.json({ maxDepth: 6 }), run), { numRuns: 300 });
  });

  it('throws nothing but SpecError when any value of a whole document becomes anything else', () => {
    const text = JSON.stringify(fullConfig);
    const paths: (string | number)[][] = [];
    const walk = (value: unknown, path: (string | number)[]) => {
      paths.push(path);
      if (Array.isArray(value))
        value.forEach((item, index) => {
          walk(item, [...path, index]);
        });
      else if (typeof value === 'object' && value !== null)
        for (const [key, item] of Object.entries(value)) walk(item, [...path, key]);
    };
    walk(fullConfig, []);
    const put = (value: unknown, path: readonly (string | number)[], item: unknown): unknown => {
      const [first, ...rest] = path;
      if (first === undefined || typeof value !== 'object' || value === null) return item;
      if (Array.isArray(value))
        return value.map((element: unknown, index) => (index === first ? put(element, rest, item) : element));
      return Object.fromEntries(
        Object.entries(value).map(([key, member]) => [key, key === first ? put(member, rest, item) : member]),
      );
    };
    const odd = fc.oneof(
      fc.jsonValue(),
      fc.constantFrom(null, -1, 0.5, 1e300, Number.NaN, 2 ** 53, '', '\0', '/', '..', [], {}, [null], {
        __proto__: null,
      }),
      fc.bigInt(),
    );
    fc.assert(
      fc.property(fc.constantFrom(...paths), odd, (path, item) => {
        run(put(JSON.parse(text), path, item));
      }),
      { numRuns: 1500 },
    );
  });
});
