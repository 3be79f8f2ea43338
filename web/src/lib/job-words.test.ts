import { describe, expect, it } from 'vitest';
import type { JobCounts, JobDevice } from './api/jobs';
import { byReason, deviceReason, failures, jobStateWords, parts, progressWords } from './job-words';

const counts = (over: Partial<JobCounts>): JobCounts => ({
  total: 0, waiting: 0, under_way: 0, out_of_reach: 0, verified: 0, sent: 0, unverified: 0, failed: 0, superseded: 0,
  cancelled: 0, expired: 0, skipped: 0, ...over,
});
const device = (state: string, reason: string | null): JobDevice => ({
  device_id: null, dev_eui: null, state, reason, attempts: 1, downlink_id: null, downlink_state: null,
  started_at: null, finished_at: null,
});
const job = (over: object) => ({ state: 'running', remaining_s: null, finished_at: null, counts: counts({}), ...over });

describe('how far a job is', () => {
  it.each([
    ['12 of 40 done, about 4 min left', job({ remaining_s: 240, counts: counts({ total: 42, verified: 12, waiting: 20, under_way: 8, skipped: 2 }) })],
    ['Paused: 1 of 3 done', job({ state: 'paused', counts: counts({ total: 3, verified: 1, waiting: 2 }) })],
    ['Stopping: 2 still under way', job({ state: 'cancelled', counts: counts({ total: 3, cancelled: 1, under_way: 2 }) })],
    ['0 of 3 told, 3 cancelled', job({ state: 'cancelled', finished_at: 'x', counts: counts({ total: 3, cancelled: 3 }) })],
    ['2 of 3 told, 1 superseded', job({ state: 'done', finished_at: 'x', counts: counts({ total: 4, verified: 1, sent: 1, superseded: 1, skipped: 1 }) })],
    ['1 of 3 did not get it', job({ state: 'done', finished_at: 'x', counts: counts({ total: 3, verified: 2, expired: 1 }) })],
    ['2 of 3 done; 1 out of reach, told as soon as a gateway hears them', job({ counts: counts({ total: 3, verified: 2, under_way: 1, out_of_reach: 1 }) })],
  ])('"%s"', (words, of) => {
    expect(progressWords(of)).toBe(words);
  });

  it('is not all good when something failed, and not over while it stops', () => {
    expect(jobStateWords(job({ state: 'done', finished_at: 'x', counts: counts({ unverified: 1 }) })).tone).toBe('bad');
    expect(jobStateWords(job({ state: 'cancelled' })).label).toBe('Stopping');
    expect(jobStateWords(job({ state: 'done', finished_at: 'x' })).tone).toBe('good');
  });
});

it('the parts of a bar are all devices', () => {
  const all = counts({ total: 10, verified: 5, waiting: 2, failed: 1, skipped: 2 });
  expect(parts(all).map(({ state, count }) => [state, count])).toEqual([
    ['verified', 5], ['waiting', 2], ['failed', 1], ['skipped', 2],
  ]);
  expect(parts(all).reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1);
  expect(failures(all)).toBe(1);
});

describe('why devices failed', () => {
  it('is grouped, the largest group first, with what to do', () => {
    const groups = byReason([device('failed', 'payload_too_large'), device('unverified', 'not_confirmed'), device('unverified', 'not_confirmed')]);
    expect(groups.map(({ reason, devices }) => [reason, devices.length])).toEqual([['not_confirmed', 2], ['payload_too_large', 1]]);
    for (const group of groups) expect(group.advice).not.toBe('');
  });

  it('has words for reasons that are not known here', () => {
    expect(deviceReason(device('failed', 'struck_by_lightning'))).toBe('Struck by lightning');
    expect(deviceReason(device('skipped', 'never_heard'))).toContain('never spoke');
    expect(deviceReason(device('verified', null))).toBe('');
  });
});
