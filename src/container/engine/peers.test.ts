import { describe, expect, it } from 'vitest';
import { NO_OPTIONS } from './options/options.js';
import { peerLines } from './peers.js';
import { newRecord } from './record.js';

const record = (name: string, network: string[], addresses: Record<string, string>) =>
  newRecord({
    id: name.repeat(64).slice(0, 64),
    name,
    options: { ...NO_OPTIONS, network },
    stopSignal: 'SIGTERM',
    stopTimeout: 10,
    interfaces: Object.entries(addresses).map(([one, address]) => ({
      network: one,
      name: 'eth0',
      addresses: [address],
      gateways: [],
    })),
  });

describe('names of the containers of a network', () => {
  const web = record('a', ['front:alias=www'], { front: '10.0.0.2/24' });
  const db = record('b', ['back'], { back: '10.1.0.2/24' });
  const api = record('c', ['front', 'back:alias=api'], { front: '10.0.0.3/24', back: '10.1.0.3/24' });

  it('are those of the networks that both are on, with their aliases there', () => {
    expect(peerLines(web.id, web.interfaces, [web, db, api]).split('\n').slice(1, -1)).toEqual([
      `10.0.0.3\tc ${api.id.slice(0, 12)}`,
    ]);
    expect(peerLines(api.id, api.interfaces, [web, db, api]).split('\n').slice(1, -1)).toEqual([
      `10.0.0.2\ta www ${web.id.slice(0, 12)}`,
      `10.1.0.2\tb ${db.id.slice(0, 12)}`,
    ]);
  });

  it('are none where nobody else is', () => {
    expect(peerLines(db.id, db.interfaces, [db, web])).toBe('');
  });
});
