import { describe, expect, it } from 'vitest';
import { secondsWords, verifiedShareWords, within, type Span } from './figures';

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
    [180, '3 min'],
    [9000, '3 h'],
  ])('%s', (seconds, words) => {
    expect(secondsWords(seconds)).toBe(words);
  });
});
