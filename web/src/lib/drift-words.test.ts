import { expect, it } from 'vitest';
import { driftWords, fieldWords, WAYS, wayMeans, waysOut } from './drift-words';

it('each difference has ways out that the server carries out', () => {
  expect(waysOut({ kind: 'missing_in_registry', ignored: false })).toEqual(['adopt', 'ignore']);
  expect(waysOut({ kind: 'missing_in_chirpstack', ignored: false })).toEqual(['push', 'ignore']);
  expect(waysOut({ kind: 'differs', ignored: false })).toEqual(['push', 'adopt', 'ignore']);
  expect(waysOut({ kind: 'differs', ignored: true })).toEqual(['unignore']);
});

it('each way out says what it does, and to how many', () => {
  for (const way of Object.keys(WAYS) as (keyof typeof WAYS)[]) {
    expect(wayMeans(way, 1)).toContain('this device');
    expect(wayMeans(way, 12)).toContain('12');
  }
});

it('fields and kinds have names, known or not', () => {
  expect(fieldWords('tags.floor')).toBe('Tag floor');
  expect(fieldWords('chirpstack_app_id')).toBe('Application');
  expect(fieldWords('is_disabled')).toBe('is disabled');
  expect(driftWords('upside_down').label).toBe('upside down');
});
