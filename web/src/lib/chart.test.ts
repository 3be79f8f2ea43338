import { describe, expect, it } from 'vitest';
import { isolated, rest, stacked } from './chart';

describe('stacked', () => {
  it('puts bars upon each other and leaves lines alone', () => {
    const drawn = stacked([
      { kind: 'bar', values: [1, 0, null] },
      { kind: 'line', values: [9, 9, 9] },
      { kind: 'bar', values: [2, 3, 4] },
    ]);
    expect(drawn).toEqual([
      [1, null, null],
      [9, 9, 9],
      [3, 3, 4],
    ]);
  });
});

describe('isolated', () => {
  it('is what has no neighbour', () => {
    expect(isolated([1, null, 2, 3, null, 4, null])).toEqual([0, 5]);
    expect(isolated([null, null])).toEqual([]);
  });
});

describe('rest', () => {
  const times = [10, 20, 30, 40];
  it('is the sum of bars', () => {
    expect(rest({ kind: 'bar', values: [1, 2, null, 4] }, times, null)).toBe(7);
    expect(rest({ kind: 'bar', values: [1, 2, null, 4] }, times, { from: 15, to: 35 })).toBe(2);
  });
  it('is the newest value of a line', () => {
    expect(rest({ values: [1, 2, null, null] }, times, null)).toBe(2);
    expect(rest({ values: [1, null, null, null] }, times, { from: 15, to: 35 })).toBeNull();
  });
});
