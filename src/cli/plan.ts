/** `tvmm plan`: the system calls that would make a container, one line each. */
import type { Command } from 'commander';

const HELP = `
A container is made by a launch plan: an ordered list of system calls that tvmm compiles from the bundle's config.json and a
small static program executes. Nothing is made or changed by looking at it.

Examples:
  tvmm plan ./bundle                     every step with what it is for
  tvmm plan ./bundle | grep mount
  tvmm plan --json ./bundle | jq '.programs[].steps | length'
`;

/** Adds `plan` to the program. */
export function register(program: Command): void {
  program
    .command('plan')
    .description('Print the launch plan of an OCI bundle: the system calls that make the container.')
    .argument('<bundle-folder>', 'folder with a config.json')
    .option('--id <id>', 'the id that the container would have', 'container')
    .option('--systemd-cgroup', "read cgroupsPath in systemd's notation")
    .option('--json', 'print the plan as one JSON object')
    .addHelpText('after', HELP)
    .action(async (folder: string, options: { id: string; systemdCgroup?: boolean; json?: boolean }) => {
      const [{ planBundle }, { planToJson, printPlan }] = await Promise.all([
        import('../container/library/bundle.js'),
        import('../container/plan/print.js'),
      ]);
      const plan = planBundle(folder, {
        ...options,
        warn: (message) => process.stderr.write(`tvmm: warning: ${message}\n`),
      });
      process.stdout.write(
        options.json === true ? `${JSON.stringify(planToJson(plan), undefined, 2)}\n` : printPlan(plan),
      );
    });
}
