/**
 * The micro-guests once more, on the real kvm_amd of the lab: what this host's KVM cannot do, and what a software KVM does otherwise.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { noLab, type SharedLab, sharedLab } from './support/lab.js';

/** What the emulator's AMD-V does otherwise than a processor's, with the reason. */
const DEVIATIONS: readonly (readonly [test: RegExp, reason: string])[] = [
  [
    /a breakpoint instruction exits as DEBUG/,
    'QEMU asks for SVM_EXIT_SWINT at INT3, never for the #BP intercept',
  ],
];

/** What is needed of vitest's JSON report. */
interface Report {
  testResults: {
    message: string;
    assertionResults: { fullName: string; status: string; failureMessages: string[] }[];
  }[];
}

describe.skipIf(noLab !== undefined)(
  `micro-guests in the lab${noLab === undefined ? '' : ' (no lab)'}`,
  () => {
    let lab: SharedLab;
    beforeAll(async () => {
      lab = await sharedLab();
    });

    test('all of them do on hardware virtualization what they do here', async () => {
      const report = '/tmp/micro-guests.json';
      // Node's modules come over the share: a cold start alone takes long. The inner run asks for no lab, so it starts none.
      const vitest = [process.execPath, 'node_modules/vitest/vitest.mjs', 'run', '--project', 'integration'];
      const options = ['--reporter', 'json', '--outputFile', report, '--testTimeout', '240000'];
      const { stdout, stderr } = await lab.exec(
        ['sh', '-c', `"$@" >&2; cat ${report}`, 'sh', ...vitest, ...options, 'test/micro-guests.test.ts'],
        { timeoutMs: 290_000 },
      );
      if (stdout === '') expect.fail(`vitest did not run in the lab: ${stderr}`);
      const { testResults }: Report = JSON.parse(stdout);
      expect(testResults.map(({ message }) => message)).toEqual(['']);
      const results = testResults.flatMap(({ assertionResults }) => assertionResults);
      const deviates = (name: string) => DEVIATIONS.some(([pattern]) => pattern.test(name));
      const failures = results.filter(({ status, fullName }) => status === 'failed' && !deviates(fullName));
      expect(failures.map(({ fullName, failureMessages }) => [fullName, ...failureMessages])).toEqual([]);
      // The real thing has every capability that the tests ask for.
      expect(
        results
          .filter(({ status }) => status !== 'passed' && status !== 'failed')
          .map(({ fullName }) => fullName),
      ).toEqual([]);
      expect(results.length).toBeGreaterThan(15);
    });
  },
);
