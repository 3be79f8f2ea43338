import { describe, expect, it } from 'vitest';
import { columns, visible } from './virtual';

describe('visible', () => {
  it.each([
    // count, height, top, from, to, beyond, first, last
    [100, 10, 0, 0, 50, 0, 0, 4],
    [100, 10, -200, 0, 50, 0, 20, 24],
    [100, 10, -205, 0, 50, 0, 20, 25],
    [100, 10, -200, 0, 50, 3, 17, 27],
    [100, 10, 0, 0, 50, 3, 0, 7],
    [100, 10, -960, 0, 50, 3, 93, 99],
    [3, 10, 0, 0, 500, 2, 0, 2],
    [0, 10, 0, 0, 500, 2, 0, -1],
    [5, 10, 0, 50, 50, 2, 0, -1],
  ])('%i rows of %i px at %i, seen %i to %i, %i beyond', (count, height, top, from, to, beyond, first, last) => {
    expect(visible(count, height, top, from, to, beyond)).toEqual({ first, last });
  });
});

describe('columns', () => {
  it.each([
    [0, 1],
    [158, 1],
    [328, 2],
    [327, 1],
    [1000, 5],
  ])('%i px', (width, expected) => {
    expect(columns(width, 158, 12)).toBe(expected);
  });
});
