import { expect, it } from 'vitest';
import { moved, pick } from './selection';

const ORDER = ['a', 'b', 'c', 'd'];
const plain = { toggle: false, range: false };

it('selects the one clicked, and nothing when it is clicked again', () => {
  expect([...pick(ORDER, new Set(['a', 'b']), 'c', 'a', plain)]).toEqual(['c']);
  expect([...pick(ORDER, new Set(['c']), 'c', 'c', plain)]).toEqual([]);
});

it('adds and takes away with Ctrl or a finger', () => {
  const toggle = { toggle: true, range: false };
  expect([...pick(ORDER, new Set(['a']), 'c', 'a', toggle)]).toEqual(['a', 'c']);
  expect([...pick(ORDER, new Set(['a', 'c']), 'a', 'a', toggle)]).toEqual(['c']);
});

it('selects a range with Shift, in either direction', () => {
  const range = { toggle: false, range: true };
  expect([...pick(ORDER, new Set(), 'b', 'd', range)]).toEqual(['b', 'c', 'd']);
  expect([...pick(ORDER, new Set(), 'b', null, range)]).toEqual(['b']);
  expect([...pick(ORDER, new Set(['a']), 'd', 'gone', range)]).toEqual(['d']);
});

it('moves through the grid and stops at its edges', () => {
  expect(moved('ArrowDown', 0, 7, 3)).toBe(3);
  expect(moved('ArrowDown', 5, 7, 3)).toBe(5);
  expect(moved('End', 2, 7, 3)).toBe(6);
  expect(moved('Enter', 2, 7, 3)).toBeNull();
});
