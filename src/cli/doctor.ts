/**
 * `tvmm doctor`: prints what src/vmm/doctor found, for people or as JSON. Exit status 0 when `tvmm boot` can work here in some way.
 */
import type { Command } from 'commander';
import type { CheckResult, CheckStatus, DoctorReport } from '../vmm/doctor/index.js';

const HELP = `
Each check is ok, degraded (works with less speed or fewer features) or missing; what is not ok comes with what to do.

Exit status: 0 when tvmm boot can work here, on /dev/kvm or through the lab; 1 otherwise; 125 when the doctor fails itself.

--json prints one object:
  version   1; raised when the shape changes in a way that breaks readers
  boot      {possible: boolean, accel: "kvm" | "lab" | null, reason: string}
  groups    [{name: string, checks: [{id, title, status: "ok" | "degraded" | "missing", detail, fix?}]}]
The ids are stable: kvm.device, cpu.virtualization, iommu, …`;

const MARK: Readonly<Record<CheckStatus, string>> = { ok: 'ok', degraded: 'degraded', missing: 'missing' };
/** SGR colours of ECMA-48. */
const COLOUR: Readonly<Record<CheckStatus, string>> = { ok: '32', degraded: '33', missing: '31' };
const TITLE_WIDTH = 30;

/** The report for people. */
function formatReport(report: DoctorReport, colours: boolean): string {
  const paint = (code: string, text: string) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
  const line = ({ title, status, detail, fix }: CheckResult) => {
    const head = `  ${paint(COLOUR[status], MARK[status].padEnd(8))}  ${title.padEnd(TITLE_WIDTH)}  ${detail}`;
    return fix === undefined ? head : `${head}\n${' '.repeat(12)}${paint('2', `→ ${fix}`)}`;
  };
  const groups = report.groups.map(
    ({ name, checks }) => `${paint('1', name)}\n${checks.map(line).join('\n')}`,
  );
  return `${groups.join('\n\n')}\n\n${report.boot.reason}.\n`;
}

export function register(program: Command): void {
  program
    .command('doctor')
    .description('say what this host can do, and what to do about the rest')
    .option('--json', 'print one JSON object instead of text')
    .addHelpText('after', HELP)
    .action(async (options: { json?: boolean }) => {
      const { examine } = await import('../vmm/doctor/index.js');
      const report = await examine();
      const colours = process.stdout.isTTY === true && !process.env.NO_COLOR;
      process.stdout.write(
        options.json === true ? `${JSON.stringify(report, undefined, 2)}\n` : formatReport(report, colours),
      );
      process.exitCode = report.boot.possible ? 0 : 1;
    });
}
