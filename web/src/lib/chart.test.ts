import { describe, expect, it } from 'vitest';
import { extent, isolated, rest, stacked } from './chart';

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

describe('extent', () => {
  it('goes as far as the values do', () => {
    expect(extent([100, 160, 220], null, false)).toEqual({ min: 100, max: 220 });
    expect(extent([], null, false)).toBeNull();
  });

  it('leaves bars at the edges half of their width', () => {
    expect(extent([100, 160, 220], null, true)).toEqual({ min: 70, max: 250 });
  });

  it('gives a single value half an hour on each side', () => {
    expect(extent([7_200], null, false)).toEqual({ min: 5_400, max: 9_000 });
    expect(extent([7_200], null, true)).toEqual({ min: 5_400, max: 9_000 });
  });

  it('is what was chosen', () => {
    expect(extent([100, 160, 220], { from: 120, to: 200 }, false)).toEqual({ min: 120, max: 200 });
  });
});
