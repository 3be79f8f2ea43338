import { describe, expect, it } from 'vitest';
import { activeByDevice, fromEvent, mergeDevice, mergeDownlink, mergeRegistered, mergeTimelines, verifiedShare } from './merge';
import type { Downlink, TimelineEntry } from './types';

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();

function downlink(fields: Partial<Downlink>): Downlink {
  return {
    id: 'one',
    dev_eui: '0000000000000001',
    status: 'pending',
    state: 'accepted',
    verified: null,
    attempts: 0,
    color: null,
    created_at: at(0),
    updated_at: at(0),
    ...fields,
  };
}

const step = (second: number, name: string, attempt = 1): TimelineEntry => ({ at: at(second), step: name, attempt });

describe('mergeDevice', () => {
  it('keeps what the event does not mention', () => {
    const known = mergeDevice(undefined, { lorawan_dev_eui: '01', name: 'Desk 1', status: 'online' });
    const after = mergeDevice(known, { lorawan_dev_eui: '01', signal_strength: -80 });
    expect(after).toMatchObject({ name: 'Desk 1', status: 'online', signal_strength: -80 });
  });

  it('names an unknown light by its address', () => {
    expect(mergeDevice(undefined, { lorawan_dev_eui: '02' }).name).toBe('02');
  });

  it('takes null as news', () => {
    const known = mergeDevice(undefined, { lorawan_dev_eui: '01', battery_level: 80 });
    expect(mergeDevice(known, { lorawan_dev_eui: '01', battery_level: null }).battery_level).toBeNull();
  });
});

describe('mergeRegistered', () => {
  const light = (fields: object) => ({ ...mergeDevice(undefined, { lorawan_dev_eui: '01', id: 'a', name: 'Desk 1' }), ...fields });

  it('takes what people decide, and keeps what live events told', () => {
    const known = light({ status: 'online', signal_strength: -80 });
    const after = mergeRegistered(known, light({ name: 'Reception', status: 'never_seen', tags: { floor: '2' } }));
    expect(after).toEqual({ ...known, name: 'Reception', tags: { floor: '2' } });
  });

  it('knows nothing of another device with the same address', () => {
    const other = light({ id: 'b' });
    expect(mergeRegistered(light({ status: 'online' }), other)).toBe(other);
    expect(mergeRegistered(undefined, other)).toBe(other);
  });
});

describe('mergeDownlink', () => {
  it('ends the same in whichever order news arrive', () => {
    const early = fromEvent({ ...downlink({ state: 'enqueued', updated_at: at(1) }), step: step(1, 'enqueued') });
    const late = fromEvent({ ...downlink({ state: 'verified', updated_at: at(3) }), step: step(3, 'verified') });
    const forth = mergeDownlink(mergeDownlink(undefined, early), late);
    const back = mergeDownlink(mergeDownlink(undefined, late), early);
    expect(forth).toEqual(back);
    expect(forth.state).toBe('verified');
    expect(forth.timeline?.map((entry) => entry.step)).toEqual(['enqueued', 'verified']);
  });

  it('lets a late proof change a terminal state', () => {
    const unverified = downlink({ state: 'unverified', updated_at: at(5) });
    const late = downlink({ state: 'verified', late: true, updated_at: at(9) });
    expect(mergeDownlink(unverified, late)).toMatchObject({ state: 'verified', late: true });
  });

  it('keeps the timeline when a list without one is loaded again', () => {
    const known = downlink({ timeline: [step(0, 'accepted')] });
    expect(mergeDownlink(known, downlink({ updated_at: at(2) })).timeline).toHaveLength(1);
  });
});

it('joins timelines without doubles, ordered by time, however the times are written', () => {
  const written = { ...step(1, 'enqueued'), at: '2026-01-01T00:00:01Z' };
  const joined = mergeTimelines([step(2, 'transmitted'), step(1, 'enqueued')], [written, step(0, 'accepted')]);
  expect(joined.map((entry) => entry.step)).toEqual(['accepted', 'enqueued', 'transmitted']);
});

it('finds the newest unfinished command of each light', () => {
  const active = activeByDevice([
    downlink({ id: 'old', created_at: at(1) }),
    downlink({ id: 'new', created_at: at(2) }),
    downlink({ id: 'done', created_at: at(3), state: 'verified' }),
  ]);
  expect([...active.values()].map(({ id }) => id)).toEqual(['new']);
});

it('counts as verified only what asked for proof and ended', () => {
  expect(verifiedShare([downlink({ state: 'waiting' }), downlink({ state: 'superseded' })])).toBeNull();
  expect(verifiedShare([downlink({ state: 'verified' }), downlink({ state: 'failed' })])).toBe(0.5);
});
