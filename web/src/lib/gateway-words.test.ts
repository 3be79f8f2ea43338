import { describe, expect, it } from 'vitest';
import type { GatewayInfo } from './api/gateways';
import { availability, byConcern, condition, conditionSince, evidence, levelWords, stretches } from './gateway-words';

const NOW = Date.parse('2026-05-01T12:00:00Z');
const HOUR = 3_600_000;
const at = (hours: number) => new Date(NOW - hours * HOUR).toISOString();

const gateway = (over: Partial<GatewayInfo>): GatewayInfo => ({
  gateway_id: '0016c001ff10a230',
  name: 'Roof',
  state: 'online',
  network_server: 'default',
  alive: true,
  mute_since: null,
  chirpstack_state: 'online',
  last_seen: at(0.01),
  location: null,
  uplinks_heard: 1,
  downlinks_taken: 0,
  refusals: 0,
  success_rate: null,
  downlinks_24h: { taken: 0, proven: 0, unproven: 0, refused: 0 },
  airtime: [],
  devices_heard: 1,
  history: [],
  ...over,
});

describe('the condition', () => {
  it('of a gateway that is online and takes no downlinks is mute', () => {
    expect(condition(gateway({ mute_since: at(1) }))).toBe('mute');
    expect(condition(gateway({ mute_since: at(1), state: 'offline' }))).toBe('offline');
  });

  it('is known since the last change that led to it', () => {
    const history = [
      { at: at(5), transition: 'came_online' },
      { at: at(2), transition: 'went_offline' },
    ];
    expect(conditionSince(gateway({ state: 'offline', last_seen: at(2.1) }), history)).toBe(at(2));
    expect(conditionSince(gateway({ state: 'offline', last_seen: at(2.1) }), [])).toBe(at(2.1));
    expect(conditionSince(gateway({}), history)).toBeNull();
    expect(conditionSince(gateway({ mute_since: at(1) }), history)).toBe(at(1));
  });
});

describe('the evidence', () => {
  it('says when ChirpStack sees it otherwise', () => {
    expect(evidence(gateway({ state: 'offline', chirpstack_state: 'online' }), NOW).join(' ')).toContain('still calls it online');
    expect(evidence(gateway({ chirpstack_state: 'offline' }), NOW).join(' ')).toContain('says otherwise');
  });

  it('never stays silent, whatever the server calls it', () => {
    expect(evidence(gateway({ state: 'in_repair' }), NOW)).toEqual(['The server calls it in repair.']);
  });
});

describe('the history', () => {
  it('has no gaps, and what was before the first change is not known', () => {
    const history = [
      { at: at(20), transition: 'came_online' },
      { at: at(2), transition: 'went_offline' },
      { at: at(1), transition: 'came_online' },
    ];
    const strip = stretches(gateway({}), history, NOW - 24 * HOUR, NOW);
    expect(strip.map(({ condition: is }) => is)).toEqual(['unknown', 'online', 'offline', 'online']);
    expect(strip[0]?.from).toBe(NOW - 24 * HOUR);
    expect(strip.at(-1)?.to).toBe(NOW);
    for (const [index, { from }] of strip.entries()) if (index) expect(from).toBe(strip[index - 1]?.to);
    expect(availability(strip)).toBeCloseTo(19 / 20);
  });

  it('begins with what a change before it led to', () => {
    const strip = stretches(gateway({}), [{ at: at(30), transition: 'came_online' }], NOW - 24 * HOUR, NOW);
    expect(strip).toEqual([{ from: NOW - 24 * HOUR, to: NOW, condition: 'online' }]);
  });

  it('without any change is what the gateway is', () => {
    const strip = stretches(gateway({ state: 'never_seen' }), [], NOW - HOUR, NOW);
    expect(strip.map(({ condition: is }) => is)).toEqual(['never_seen']);
    expect(availability(strip)).toBeNull();
  });
});

it('links that need somebody come first, and words that are not known come last', () => {
  const link = (dev_eui: string, diagnosis: string) => ({ dev_eui, diagnosis });
  const sorted = byConcern([link('d', 'new'), link('b', 'fine'), link('a', 'fine'), link('c', 'downlink_dead')]);
  expect(sorted.map(({ dev_eui }) => dev_eui)).toEqual(['c', 'a', 'b', 'd']);
});

it('a level has a true minus and a spread', () => {
  expect(levelWords(-92.34, 4.06, 'dBm')).toBe('−92.3 ± 4.1 dBm');
});
