/** Which rows of a long list are drawn. */

/** From the first to the last, both drawn; `last` below `first` when there is none. */
export interface Rows {
  first: number;
  last: number;
}

/**
 * The rows that can be seen, and some beyond them so that scrolling meets them ready.
 *
 * `top` is where the list begins and `from`, `to` what is seen, all in pixels of the same origin.
 */
export function visible(count: number, height: number, top: number, from: number, to: number, beyond: number): Rows {
  if (count === 0 || to <= from) return { first: 0, last: -1 };
  const first = Math.floor((from - top) / height) - beyond;
  const last = Math.ceil((to - top) / height) - 1 + beyond;
  return { first: Math.min(count - 1, Math.max(0, first)), last: Math.max(0, Math.min(count - 1, last)) };
}

/** How many tiles of at least so many pixels stand side by side, with a gap between them. */
export function columns(width: number, least: number, gap: number): number {
  return Math.max(1, Math.floor((width + gap) / (least + gap)));
}
