import { describe, expect, it } from 'vitest';
import { sorted, type Column } from './table';

interface Row {
  name: string;
  size: number | null;
}
const COLUMNS: Column<Row>[] = [
  { key: 'name', label: 'Name', value: (row) => row.name },
  { key: 'size', label: 'Size', value: (row) => row.size },
];
const ROWS: Row[] = [
  { name: 'Light 10', size: 5 },
  { name: 'light 2', size: null },
  { name: 'Light 1', size: 40 },
];
const names = (rows: Row[]) => rows.map((row) => row.name);

describe('sorted', () => {
  it('goes by number within text, whatever the case', () => {
    const rows = sorted(ROWS, COLUMNS, { key: 'name', descending: false });
    expect(names(rows)).toEqual(['Light 1', 'light 2', 'Light 10']);
  });

  it.each([
    [false, ['Light 10', 'Light 1', 'light 2']],
    [true, ['Light 1', 'Light 10', 'light 2']],
  ])('puts what has no value last (descending: %s)', (descending, expected) => {
    expect(names(sorted(ROWS, COLUMNS, { key: 'size', descending }))).toEqual(expected);
  });

  it('leaves the order without a sort', () => {
    expect(names(sorted(ROWS, COLUMNS, null))).toEqual(names(ROWS));
  });
});
