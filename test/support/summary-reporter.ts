/**
 * Writes the counts of a run to the file that TVMM_TEST_SUMMARY names, with the skips that this machine does not explain; scripts/test.mjs
 * reads it. A file that could not even be collected counts as a failure, so does an error outside of any test.
 */
import { writeFileSync } from 'node:fs';
import type { SerializedError } from 'vitest';
import type { Reporter, TestModule } from 'vitest/node';
import { isExplained } from './needs.js';

/** What scripts/test.mjs reads. */
export interface Summary {
  passed: number;
  failed: number;
  skipped: number;
  /** Skipped without a reason that this machine explains: file, name and note of each. */
  unexplained: string[];
}

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const summary: Summary = { passed: 0, failed: unhandled.length, skipped: 0, unexplained: [] };
    for (const module of modules) {
      let failedTests = 0;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') summary.passed++;
        else if (result.state === 'skipped') {
          summary.skipped++;
          const text = `${module.relativeModuleId}: ${test.fullName}${result.note === undefined ? '' : ` [${result.note}]`}`;
          if (!isExplained(text)) summary.unexplained.push(text);
        } else failedTests++;
      }
      // A hook that failed leaves its tests without a failure of their own.
      summary.failed += module.ok() ? failedTests : Math.max(1, failedTests);
    }
    const file = process.env.TVMM_TEST_SUMMARY;
    if (file !== undefined) writeFileSync(file, JSON.stringify(summary));
  }
}
