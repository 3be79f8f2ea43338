import { describe, expect, it } from 'vitest';
import { since, span } from './span';

describe('a length of time', () => {
  it.each([
    [-3, 'under 1 s'],
    [0.4, 'under 1 s'],
    [12.4, '12 s'],
    [59.6, '1 min'],
    [240, '4 min'],
    [270, '4 min 30 s'],
    [1500, '25 min'],
    [3600, '1 h'],
    [11_100, '3 h 5 min'],
    [86_400, '1 day'],
    [97_200, '1 day 3 h'],
    [183_600, '2 days 3 h'],
  ])('%d s reads "%s"', (seconds, words) => {
    expect(span(seconds)).toBe(words);
  });

  it('is measured up to now', () => {
    const after = (seconds: number) => since('2026-05-01T10:00:00Z', Date.parse('2026-05-01T10:00:00Z') + seconds * 1000);
    expect([-1, 59.9, 299, 7_199, 172_799, 172_800].map(after)).toEqual(['0 s', '59 s', '4 min', '1 h', '47 h', '2 days']);
  });
});
