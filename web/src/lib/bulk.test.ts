import { describe, expect, it } from 'vitest';
import { estimateWords, progressWords, type JobEstimate } from './bulk';
import type { JobCounts } from './types';

const ESTIMATE: JobEstimate = {
  devices: 60,
  airtime_s: 79.134,
  duration_s: 49.9,
  eta: '2026-11-23T03:52:17Z',
  class_a: 0,
  without_gateway: 0,
  left_out: [],
};

const NONE: JobCounts = {
  total: 0,
  waiting: 0,
  out_of_reach: 0,
  under_way: 0,
  verified: 0,
  sent: 0,
  unverified: 0,
  failed: 0,
  superseded: 0,
  cancelled: 0,
  expired: 0,
  skipped: 0,
};

describe('estimateWords', () => {
  it('tells airtime and time', () => {
    expect(estimateWords(ESTIMATE)).toBe('79 s of airtime · done in about 50 s');
  });

  it('tells who is left out and who hears it late', () => {
    const words = estimateWords({
      ...ESTIMATE,
      class_a: 2,
      without_gateway: 4,
      left_out: [{ reason: 'not_synced', devices: 3, examples: [] }],
    });
    expect(words).toContain('4 out of reach at the moment · 2 hear it only when they speak themselves (class A)');
    expect(words).toContain('left out: 3 not in ChirpStack yet');
  });
});

describe('progressWords', () => {
  it('leaves out what there is none of', () => {
    expect(progressWords({ counts: { ...NONE, verified: 1200, waiting: 4 } })).toBe('1,200 verified, 4 waiting');
    expect(progressWords({ counts: NONE })).toBe('nothing yet');
  });
});
