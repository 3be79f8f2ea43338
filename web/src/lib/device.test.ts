import { describe, expect, it } from 'vitest';
import { eventWords, readTags, receptions, tagsChange, tagsText, type DeviceEvent } from './device';

const uplink = (second: number, heard: Record<string, number>): DeviceEvent => ({
  id: String(second),
  at: new Date(second * 1000).toISOString(),
  kind: 'up',
  body: { f_cnt: second, receptions: Object.entries(heard).map(([gateway_id, rssi_dbm]) => ({ gateway_id, rssi_dbm })) },
});

describe('tags', () => {
  it.each([
    ['', {}],
    ['floor=2, wing', { floor: '2', wing: '' }],
    [' a = b=c ,,\nd=e', { a: 'b=c', d: 'e' }],
  ])('are read from %j', (text, tags) => {
    expect(readTags(text)).toEqual(tags);
  });

  it('are written as they are read', () => {
    const tags = { floor: '2', wing: '' };
    expect(readTags(tagsText(tags))).toEqual(tags);
  });

  it('that are gone are taken away', () => {
    expect(tagsChange({ floor: '1', wing: 'b' }, { floor: '2' })).toEqual({ floor: '2', wing: null });
  });
});

describe('receptions', () => {
  it('are lined up by time, the most heard gateway first', () => {
    const { times, byGateway } = receptions([uplink(20, { a: -80, b: -90 }), uplink(10, { b: -91 })]);
    expect(times).toEqual([10, 20]);
    expect([...byGateway]).toEqual([
      ['b', [-91, -90]],
      ['a', [null, -80]],
    ]);
  });
});

describe('eventWords', () => {
  it('names the best gateway of an uplink', () => {
    const words = eventWords(uplink(7, { a: -80 }), () => 'Roof-1');
    expect(words).toEqual({ title: 'Uplink', detail: 'fCnt 7, heard by 1, best Roof-1 at −80 dBm' });
  });

  it('writes what a gateway sent as people do', () => {
    const body = { gateway_id: 'a', f_cnt_down: 2, frequency_hz: 869525000, queue_id: '4f77bbb5-48f3-4ff3-938a-f3c772a2613e', margin_db: 8, confirmed: false };
    const event = { id: '1', at: '', kind: 'txack', body };
    const detail = 'gateway Roof-1, frame counter 2, 869.525 MHz, queue item 4f77bbb5, margin 8 dB';
    expect(eventWords(event, () => 'Roof-1').detail).toBe(detail);
  });

  it('shows what nobody wrote words for', () => {
    const event = { id: '1', at: '', kind: 'new_kind', body: { level: 'ERROR', nested: {} } };
    expect(eventWords(event, String)).toEqual({ title: 'new kind', detail: 'level ERROR' });
  });
});
