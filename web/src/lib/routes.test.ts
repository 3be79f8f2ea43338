import { describe, expect, it } from 'vitest';
import { changedQuery, place, section } from './routes';

describe('place', () => {
  it.each([
    ['/', 'overview', null],
    ['/devices', 'devices', null],
    ['/devices/', 'devices', null],
    ['/devices/0193-a', 'device', '0193-a'],
    ['/gateways/24e124fffef00001', 'gateway', '24e124fffef00001'],
    ['/jobs/a%20b', 'job', 'a b'],
    ['/settings', 'settings', null],
    ['/audit/7', 'unknown', null],
    ['/devices/a/b', 'unknown', null],
    ['/devices/%zz', 'unknown', null],
    ['/constructor', 'unknown', null],
  ])('%s', (path, page, id) => {
    expect(place(path)).toEqual({ page, id });
  });
});

describe('section', () => {
  it('is the list that a thing is in', () => {
    expect(['device', 'gateway', 'job', 'audit'].map((page) => section(page as 'device'))).toEqual([
      'devices',
      'gateways',
      'jobs',
      'audit',
    ]);
  });
});

describe('changedQuery', () => {
  it('changes what is named and leaves the rest', () => {
    expect(changedQuery('?q=a&tag=b', { q: 'c d', tag: null, state: '' })).toBe('?q=c+d');
    expect(changedQuery('?q=a', { q: null })).toBe('');
  });
});
