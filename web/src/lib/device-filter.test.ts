import { describe, expect, it } from 'vitest';
import { filtered, filterOf, inOrder, isNarrow, tagsOf } from './device-filter';
import type { Device } from './types';

const RED = { red: 255, green: 0, blue: 0, on_time: 255, off_time: 0 };
const GREEN = { ...RED, red: 0, green: 255 };

function device(name: string, more: Partial<Device> = {}): Device {
  return {
    id: name,
    name,
    lorawan_dev_eui: `70b3d5${name.length}`,
    status: 'online',
    last_seen: null,
    signal_strength: null,
    snr: null,
    battery_level: null,
    desired: null,
    reported: null,
    chirpstack_synced: true,
    tags: {},
    ...more,
  };
}

const SYNC = { state: 'failing', error: 'no', attempts: 1, next_attempt_at: null };
const DEVICES = [
  device('Desk 1', { tags: { floor: '1' }, lorawan_dev_eui: 'aa01' }),
  device('Desk 2', { tags: { floor: '2' }, status: 'offline', lorawan_dev_eui: 'aa02' }),
  device('Hall', { tags: { wing: '' }, desired: RED, reported: { ...GREEN }, lorawan_dev_eui: 'bb03' }),
  device('Roof', { chirpstack_synced: false, sync: SYNC, desired: RED, reported: { ...RED }, lorawan_dev_eui: 'bb04' }),
  device('Board', { chirpstack_synced: false, status: 'never_seen', lorawan_dev_eui: 'bb05' }),
];

function names(query: string, heard: Set<string> | null = null): string[] {
  return filtered(DEVICES, filterOf(new URLSearchParams(query)), heard).map(({ name }) => name);
}

describe('filtered', () => {
  it.each([
    ['', ['Desk 1', 'Desk 2', 'Hall', 'Roof', 'Board']],
    ['q=desk', ['Desk 1', 'Desk 2']],
    ['q=AA01', ['Desk 1']],
    ['q=desk+02', ['Desk 2']],
    ['status=offline', ['Desk 2']],
    ['status=broken', ['Desk 1', 'Desk 2', 'Hall', 'Roof', 'Board']],
    ['tag=floor', ['Desk 1', 'Desk 2']],
    ['tag=floor:2', ['Desk 2']],
    ['tag=wing', ['Hall']],
    ['synced=true', ['Desk 1', 'Desk 2', 'Hall']],
    ['synced=false', ['Roof']],
    ['converged=false', ['Hall']],
    ['converged=true&q=oo', ['Roof']],
  ])('%s', (query, expected) => {
    expect(names(query)).toEqual(expected);
  });

  it('leaves those that the gateway hears', () => {
    expect(names('gateway=g1', new Set(['aa02', 'bb03']))).toEqual(['Desk 2', 'Hall']);
    expect(names('gateway=g1')).toEqual([]);
  });

  it('is the same list when nothing is filtered', () => {
    expect(filtered(DEVICES, filterOf(new URLSearchParams('view=table')), null)).toBe(DEVICES);
  });
});

describe('isNarrow', () => {
  it('tells whether there is a filter', () => {
    expect(isNarrow(filterOf(new URLSearchParams('q=+&status=x')))).toBe(false);
    expect(isNarrow(filterOf(new URLSearchParams('synced=false')))).toBe(true);
  });
});

describe('tagsOf', () => {
  it('lists names and values', () => {
    expect(tagsOf(DEVICES)).toEqual(['floor', 'floor:1', 'floor:2', 'wing']);
  });
});

describe('inOrder', () => {
  const seen = (name: string, last_seen: string | null, signal_strength: number | null, status = 'online') =>
    device(name, { last_seen, signal_strength, status });
  const devices = [
    seen('A', '2026-01-02T00:00:00Z', -80),
    seen('B', null, null, 'never_seen'),
    seen('C', '2026-01-03T00:00:00Z', -110, 'offline'),
  ];
  it.each([
    ['', 'ABC'],
    ['status', 'CBA'],
    ['last_seen', 'CAB'],
    ['-last_seen', 'BAC'],
    ['signal_strength', 'CAB'],
  ])('%s', (order, expected) => {
    expect(
      inOrder(devices, order)
        .map(({ name }) => name)
        .join(''),
    ).toBe(expected);
  });
});
