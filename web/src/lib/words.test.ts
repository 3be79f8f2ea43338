import { describe, expect, it } from 'vitest';
import { after, ago, duration } from './time';
import type { Downlink, TimelineEntry } from './types';
import { evidenceWords, headline, reasonWords, stateWords, stations, story } from './words';

const START = Date.UTC(2026, 0, 1);
const at = (seconds: number) => new Date(START + seconds * 1000).toISOString();
const name = (id: string) => (id === 'aa' ? 'Roof' : id);

const TIMELINE: TimelineEntry[] = [
  { at: at(0), step: 'accepted' },
  { at: at(0.1), step: 'waiting', reason: 'no_gateway' },
  { at: at(4), step: 'enqueued', attempt: 1, queue_id: '8f3c11d2-aaaa' },
  { at: at(14), step: 'not_transmitted', attempt: 1 },
  { at: at(24), step: 'enqueued', attempt: 2 },
  { at: at(25), step: 'transmitted', attempt: 2, gateway_id: 'aa', f_cnt_down: 12 },
];

function downlink(fields: Partial<Downlink>): Downlink {
  return {
    id: 'one',
    dev_eui: '0000000000000001',
    status: 'pending',
    state: 'transmitted',
    verified: null,
    attempts: 2,
    color: null,
    created_at: at(0),
    timeline: TIMELINE,
    ...fields,
  };
}

describe('story', () => {
  it('tells each step with its time, reason and gateway', () => {
    const rows = story(downlink({}), name);
    expect(rows.map((row) => row.after)).toEqual(['+0.00 s', '+0.10 s', '+4.00 s', '+14.0 s', '+24.0 s', '+25.0 s']);
    expect(rows[1]?.details).toEqual(['No gateway that hears this light is online']);
    expect(rows[2]?.details).toEqual(['Attempt 1, queue item 8f3c11d2']);
    expect(rows[5]?.details).toEqual(['By gateway Roof, frame counter 12']);
  });

  it('marks where each attempt begins', () => {
    const rows = story(downlink({}), name);
    expect(rows.map((row) => row.attempt)).toEqual([null, null, 1, null, 2, null]);
  });

  it('tells an end by the state it ended in', () => {
    const timeline = [{ at: at(1), step: 'ended', state: 'superseded', reason: { newer: 'another-id' } }];
    expect(story(downlink({ timeline }), name)[0]).toMatchObject({
      title: 'Superseded',
      tone: 'quiet',
      details: ['A newer command took its place'],
    });
  });

  it('tells the proof from the step itself', () => {
    const evidence = { kind: 'lorawan_ack', f_cnt_down: 7 };
    const timeline = [{ at: at(1), step: 'verified', evidence, late: true }];
    expect(story(downlink({ timeline }), name)[0]?.details).toEqual([
      'Acknowledged by the light (frame counter 7)',
      'Later than expected, and proof all the same',
    ]);
  });

  it('shows a step and fields it does not know as they came', () => {
    const timeline = [{ at: at(1), step: 'moved_to_other_gateway', detail: { rssi_dbm: -80 }, hop: 2 }];
    expect(story(downlink({ timeline }), name)[0]).toMatchObject({
      title: 'Moved to other gateway',
      details: ['Rssi dbm -80', 'Hop 2'],
    });
  });
});

describe('stations', () => {
  it('stands at the proof that is awaited', () => {
    expect(stations(downlink({})).map((s) => s.reached)).toEqual(['done', 'done', 'done', 'current']);
  });

  it('goes back to the queue while it waits for another attempt', () => {
    expect(stations(downlink({ state: 'waiting' })).map((s) => s.reached)).toEqual([
      'done',
      'current',
      'ahead',
      'ahead',
    ]);
  });

  it('names a bad end where the proof would have been', () => {
    const end = stations(downlink({ state: 'unverified', finished_at: at(90) })).at(-1);
    expect(end).toEqual({ name: 'Unverified', reached: 'failed', after: '+1 min 30 s' });
    expect(stations(downlink({ state: 'cancelled' })).at(-1)).toMatchObject({ name: 'Cancelled', reached: 'dropped' });
  });
});

describe('evidenceWords', () => {
  it('tells counter, uplink and gateway', () => {
    const uplink = { f_cnt: 12, gateway_id: 'aa', rssi_dbm: -81 };
    const evidence = { kind: 'counter_and_state', baseline: 4, downlinks_received: 5, uplink };
    expect(evidenceWords(evidence, name)).toBe(
      'counter 4 → 5 and colour reported by uplink fCnt 12 through gateway Roof at −81 dBm',
    );
  });

  it('keeps what it does not know', () => {
    expect(evidenceWords({ kind: 'camera_seen', frame: 3 }, name)).toBe('camera seen, frame 3');
  });
});

it('says how it ended', () => {
  expect(headline(downlink({ state: 'verified', attempts: 1, finished_at: at(2.41) }))).toBe(
    'Proven after 2.41 s, at the first attempt.',
  );
  expect(headline(downlink({ state: 'failed', reason: { gateway_refused: 'TOO_LATE' } }))).toBe(
    'Failed: the gateway refused it (TOO_LATE).',
  );
  expect(headline(downlink({ state: 'parked', reason: null }))).toBe('Parked.');
});

it('takes words it does not know as they come', () => {
  expect(reasonWords('gateway_asleep')).toBe('gateway asleep');
  expect(stateWords('on_hold')).toEqual({ label: 'On hold', tone: 'going' });
});

it('tells times as people do', () => {
  expect(ago(at(0), START + 4_000)).toBe('4 s ago');
  expect(ago(at(10), START)).toBe('now');
  expect(ago(at(0), START + 3 * 86_400_000)).toBe('3 days ago');
  expect(after(at(0), at(0.42))).toBe('+0.42 s');
  expect(duration(245_000)).toBe('4 min 5 s');
});
