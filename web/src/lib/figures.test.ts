import { describe, expect, it } from 'vitest';
import { attemptShares, secondsWords, timeShares, verifiedShareWords, within, type Span } from './figures';

const NONE = { success_rate: 0, avg_attempts: null, time_to_verify_p50_s: null, time_to_verify_p95_s: null };

describe('verifiedShareWords', () => {
  it.each([
    [0, 0, null],
    [3, 0, '100 %'],
    [2, 1, '66 %'],
    [1999, 1, '99.9 %'],
    [99_999, 1, '99.9 %'],
    [0, 4, '0 %'],
  ])('%i of which %i failed', (success, failed, words) => {
    expect(verifiedShareWords({ success, failed, unverified: 0 })).toBe(words);
  });
});

describe('within', () => {
  it('adds up the spans that begin in the range', () => {
    const span = (minute: number, success: number): Span => ({
      ...NONE,
      at: new Date(minute * 60_000).toISOString(),
      total: success + 1,
      success,
      failed: 1,
      unverified: 0,
    });
    const sum = within([span(0, 1), span(10, 2), span(20, 4)], { from: 600, to: 1200 });
    expect(sum).toEqual({ total: 8, success: 6, failed: 2, unverified: 0 });
  });
});

describe('secondsWords', () => {
  it.each([
    [null, '–'],
    [0.44, '0.4 s'],
    [12.4, '12 s'],
    [120, '2 min'],
    [180, '3 min'],
    [9000, '3 h'],
  ])('%s', (seconds, words) => {
    expect(secondsWords(seconds)).toBe(words);
  });
});

describe('attemptShares', () => {
  it('puts four and more together', () => {
    const shares = attemptShares([1, 2, 4, 6].map((attempts) => ({ attempts, total: attempts * 10 })));
    expect(shares.map(({ count }) => count)).toEqual([10, 20, 0, 100]);
  });
});

describe('timeShares', () => {
  it('adds up what is finer', () => {
    const times = [1, 2, 5, 10, 20, 30, 60, 120, 300, null].map((up_to_s) => ({ up_to_s, commands: 1 }));
    expect(timeShares(times)).toEqual([
      { label: 'up to 5 s', count: 3 },
      { label: 'up to 10 s', count: 1 },
      { label: 'up to 30 s', count: 2 },
      { label: 'up to 2 min', count: 2 },
      { label: 'longer', count: 2 },
    ]);
  });
});
