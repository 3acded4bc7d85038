import { Command } from 'commander';
import { expect, it } from 'vitest';
import { withSwitches } from './boolean-flags.js';

function program(): Command {
  const tvmm = new Command('tvmm').option('--log-level <level>').option('--debug');
  tvmm
    .command('run')
    .option('-i, --interactive')
    .option('-t, --tty')
    .option('--rm')
    .option('-e, --env <value>')
    .option('--tls-verify <bool>')
    .option('--no-sig-proxy')
    .argument('[image]')
    .argument('[command...]');
  tvmm.command('network').command('create').option('--internal').argument('<name>');
  return tvmm;
}

it.each([
  ['run --rm=true -t=false image', 'run --rm image'],
  ['--debug=true run --rm=1 image', '--debug=true run --rm image'],
  ['run --sig-proxy=false --sig-proxy=true image', 'run --no-sig-proxy image'],
  ['run --tls-verify=false image', 'run --tls-verify=false image'],
  ['run -e --rm=true image', 'run -e --rm=true image'],
  ['run -ite A=true --rm=false image', 'run -ite A=true image'],
  ['run image --rm=true', 'run image --rm=true'],
  ['run -- --rm=true', 'run -- --rm=true'],
  ['run --unknown=true image', 'run --unknown=true image'],
  ['network create --internal=true back', 'network create --internal back'],
])('%s is %s', (given, ours) => {
  expect(withSwitches(program(), given.split(' ')).join(' ')).toBe(ours);
});
