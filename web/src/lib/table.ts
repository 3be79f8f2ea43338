/** How tables are sorted. */

/** One column of a table. */
export interface Column<Row> {
  key: string;
  label: string;
  /** What to show, and to sort by, where the table has no cell of its own for it. */
  value?: ((row: Row) => string | number | null | undefined) | undefined;
  /** Figures stand at the right. */
  align?: 'right' | undefined;
  /** Left out on small screens. */
  wide?: boolean | undefined;
  /** Sortable unless this is false or there is no `value`. */
  sortable?: boolean | undefined;
}

/** By which column, and which way. */
export interface Sort {
  key: string;
  descending: boolean;
}

const TEXT = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

/** The rows in order; those without a value come last either way. */
export function sorted<Row>(rows: readonly Row[], columns: readonly Column<Row>[], sort: Sort | null): Row[] {
  const value = sort === null ? undefined : columns.find(({ key }) => key === sort.key)?.value;
  if (!value || sort === null) return [...rows];
  const direction = sort.descending ? -1 : 1;
  return rows.toSorted((a, b) => {
    const [x, y] = [value(a) ?? null, value(b) ?? null];
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    return direction * (typeof x === 'number' && typeof y === 'number' ? x - y : TEXT.compare(String(x), String(y)));
  });
}
