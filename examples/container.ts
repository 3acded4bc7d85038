/**
 * A container from a folder: created, run, asked, watched, removed. Needs root.
 *
 *     npm run build && node dist/examples/container.js ROOTFS
 *
 * ROOTFS is any folder with a shell in it; an image's name instead of it would need no folder: `engine.run({ image: 'debian:12', … })`.
 */
import { Engine, TvmmError } from 'tvmm/container';

const [rootfs] = process.argv.slice(2);
if (rootfs === undefined) {
  console.error('usage: container ROOTFS');
  process.exit(2);
}

try {
  const engine = Engine.open();
  // Removed at the end of the block, whatever happens in it.
  await using container = await engine.run({
    rootfs,
    command: ['sh', '-c', 'echo "hello from process $$"; exec sleep 60'],
    network: ['none'],
    memory: 64 * 2 ** 20,
    pidsLimit: 20,
    readOnly: true,
  });

  const { name, state, argv } = await container.inspect();
  console.log(`${state}: ${name} runs ${argv[0]}`);

  const { status, stdout } = await container.output(['sh', '-c', 'id -u; touch /file || exit 3'], {
    user: '1000',
  });
  console.log(`exec: status ${status}, user ${stdout.trim()}`);

  const { memory, pids } = await container.stats();
  console.log(`stats: ${pids.current} process, memory limit ${memory.usage.limit / 2 ** 20} MiB`);

  await container.stop({ timeout: 0 });
  console.log(`end: status ${await container.wait()}`);
  for await (const { stream, log } of container.logs()) console.log(`${stream}: ${log.trim()}`);
} catch (error) {
  if (!(error instanceof TvmmError)) throw error;
  console.error(error.hint === undefined ? error.message : `${error.message}\n${error.hint}`);
  process.exitCode = 125;
}
