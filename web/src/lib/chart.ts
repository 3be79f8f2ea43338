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

/** Where a value stands between two that are missing. */
export function isolated(values: readonly (number | null)[]): number[] {
  const missing = (index: number) => (values[index] ?? null) === null;
  return values.flatMap((_, index) => (!missing(index) && missing(index - 1) && missing(index + 1) ? [index] : []));
}

/** What is told of a series while nothing is pointed at: the sum of bars, the newest value of a line. */
export function rest(
  series: Stackable,
  times: readonly number[],
  range: { from: number; to: number } | null,
): number | null {
  const shown = series.values.filter((_, index) => {
    const at = times[index] ?? 0;
    return !range || (at >= range.from && at <= range.to);
  });
  if (series.kind === 'bar') return shown.reduce<number>((sum, value) => sum + (value ?? 0), 0);
  return shown.findLast((value) => value !== null) ?? null;
}

/** What a single value has of time on each side, seconds. */
const AROUND_ONE = 1_800;

/**
 * From when until when a chart goes, seconds since the epoch: as far as is chosen, else as its values do; null without any.
 *
 * Bars at the edges need room for half of themselves, and a single value some time around it.
 */
export function extent(
  times: readonly number[],
  chosen: { from: number; to: number } | null,
  hasBars: boolean,
): { min: number; max: number } | null {
  const [first, second, last] = [times[0], times[1], times.at(-1)];
  if (first === undefined || last === undefined) return null;
  const margin = second === undefined ? AROUND_ONE : hasBars ? (second - first) / 2 : 0;
  return { min: (chosen?.from ?? first) - margin, max: (chosen?.to ?? last) + margin };
}
