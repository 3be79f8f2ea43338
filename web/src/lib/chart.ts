/** What charts draw, made from what they are given. */

interface Stackable {
  values: readonly (number | null)[];
  kind?: 'line' | 'bar' | undefined;
}

/**
 * Each series' values as they are drawn: lines as they are, bars upon those before them.
 *
 * A bar upon nothing is null, as is one without a value of its own, so that no empty bar hides what is below.
 */
export function stacked(series: readonly Stackable[]): (number | null)[][] {
  const sums: number[] = [];
  return series.map(({ values, kind }) => {
    if (kind !== 'bar') return [...values];
    return values.map((value, index) => {
      if (value === null || value === 0) return null;
      return (sums[index] = (sums[index] ?? 0) + value);
    });
  });
}
