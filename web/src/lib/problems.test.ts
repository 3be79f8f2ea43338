import { describe, expect, it } from 'vitest';
import { problems, type Facts } from './problems';
import type { Gateway } from './types';

const QUIET: Facts = {
  networkServer: 'ok',
  gateways: [],
  devices: [],
  airtime: null,
  drift: null,
  stuckQueues: null,
  notClassC: null,
};

const gateway = (name: string, state: string, mute_since: string | null = null): Gateway => ({
  gateway_id: `${name}-id`,
  name,
  state,
  mute_since,
  last_seen: null,
});

const titles = (facts: Partial<Facts>) => problems({ ...QUIET, ...facts }).map(({ title }) => title);

describe('problems', () => {
  it('are none when nothing is wrong or known', () => {
    expect(titles({})).toEqual([]);
    expect(titles({ networkServer: null, gateways: [gateway('A', 'online')], drift: 0 })).toEqual([]);
  });

  it.each([
    ['unavailable', 'ChirpStack cannot be reached'],
    ['key_refused', 'ChirpStack refuses the API key'],
    ['not_configured', 'No ChirpStack is set'],
  ])('name the network server that is %s', (networkServer, title) => {
    expect(titles({ networkServer })).toEqual([title]);
  });

  it('name one silent gateway, and lead to it', () => {
    const [found] = problems({ ...QUIET, gateways: [gateway('Roof', 'offline'), gateway('Hall', 'online')] });
    expect(found).toMatchObject({ title: 'Gateway Roof is silent', link: { href: '/gateways/Roof-id' } });
  });

  it('say when all gateways are silent', () => {
    const gateways = [gateway('A', 'offline'), gateway('B', 'offline')];
    expect(titles({ gateways })).toEqual(['All 2 gateways are silent']);
  });

  it('tell a mute gateway from a silent one', () => {
    const gateways = [gateway('A', 'online', '2026-01-01T00:00:00Z'), gateway('B', 'online')];
    expect(titles({ gateways })).toEqual(['Gateway A does not send']);
  });

  it('come worst first', () => {
    const airtime = { note: 'RX2 is slow', downlink: { data_rate: 'SF12 125 kHz', colour_ms: 1318 }, gateways: [] };
    expect(titles({ airtime, drift: 2, networkServer: 'unavailable' })).toEqual([
      'ChirpStack cannot be reached',
      'RX2 sends at SF12',
      '2 devices differ between ChirpStack and here',
    ]);
  });

  it('name gateways without airtime', () => {
    const band = { name: 'g3', budget_ms: 10, used_ms: 10, reserved_ms: 0, free_ms: 0, blocked_until: null };
    const airtime = {
      note: null,
      downlink: { data_rate: 'SF9 125 kHz', colour_ms: 164 },
      gateways: [{ gateway_id: 'a', name: 'A', colours_per_hour: null, paused_until: null, sub_bands: [band] }],
    };
    expect(titles({ airtime })).toEqual(['1 gateway has no airtime left']);
  });
});
