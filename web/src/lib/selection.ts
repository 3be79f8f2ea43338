/** Which lights a click or key selects: the rules that lists of files have everywhere. */

/** What was held or touched with a click. */
export interface Pick {
  /** Ctrl or Cmd, or a finger, which has no keys to hold. */
  toggle: boolean;
  /** Shift. */
  range: boolean;
}

/** The selection after picking `key`, with `anchor` the one picked before. */
export function pick(
  order: readonly string[],
  selected: ReadonlySet<string>,
  key: string,
  anchor: string | null,
  how: Pick,
): Set<string> {
  if (how.range && anchor !== null) {
    const [from, to] = [order.indexOf(anchor), order.indexOf(key)].sort((a, b) => a - b);
    if (from !== undefined && to !== undefined && from >= 0) {
      return new Set([...(how.toggle ? selected : []), ...order.slice(from, to + 1)]);
    }
  }
  if (how.toggle) {
    const after = new Set(selected);
    if (!after.delete(key)) after.add(key);
    return after;
  }
  return selected.size === 1 && selected.has(key) ? new Set() : new Set([key]);
}

/** The index an arrow key leads to in a grid of so many columns; null for other keys. */
export function moved(key: string, index: number, count: number, columns: number): number | null {
  const steps: Record<string, number> = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    Home: -index,
    End: count - 1 - index,
  };
  const step = steps[key];
  if (step === undefined) return null;
  const target = index + step;
  return target < 0 || target >= count ? index : target;
}
