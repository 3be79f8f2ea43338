import { describe, expect, it } from 'vitest';
import { stacked } from './chart';

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
