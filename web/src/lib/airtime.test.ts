import { describe, expect, it } from 'vitest';
import type { SubBand } from './api/gateways';
import { airParts, airShare, airTone, airWords, rangeWords } from './airtime';

const band = (over: Partial<SubBand>): SubBand => ({
  name: 'g3', from_hz: 869_400_000, to_hz: 869_650_000, budget_ms: 360_000, used_ms: 0, used_by_class_ms: {},
  reserved_ms: 0, free_ms: 360_000, blocked_until: null, ...over,
});

describe('the parts of a budget', () => {
  it('are all that was sent and granted, with the rest as of others', () => {
    const parts = airParts(band({ used_ms: 1000, used_by_class_ms: { bulk: 300, retry: 200, beacon: 100 }, reserved_ms: 50 }));
    expect(parts.map(({ name, ms }) => [name, ms])).toEqual([
      ['retry', 200], ['bulk', 300], ['beacon', 100], ['others', 400], ['reserved', 50],
    ]);
  });

  it('are never negative: what is rounded up may be more than the whole', () => {
    expect(airParts(band({ used_ms: 99, used_by_class_ms: { bulk: 100 } })).map(({ ms }) => ms)).toEqual([100]);
  });
});

it('a share counts what is granted, and where there is no budget there is none', () => {
  expect(airShare(band({ used_ms: 180_000, reserved_ms: 90_000 }))).toBe(0.75);
  expect(airShare(band({ budget_ms: null }))).toBeNull();
  expect([0, 0.7, 0.96, null].map((share) => airTone(share))).toEqual(['good', 'setback', 'bad', 'good']);
});

it('reads in words', () => {
  expect(airWords(band({ used_ms: 12_400 }))).toBe('12.4 s of 360 s');
  expect(airWords(band({ used_ms: 164, budget_ms: null }))).toBe('0.16 s, no limit');
  expect(rangeWords(band({}))).toBe('869.40–869.65 MHz');
});
