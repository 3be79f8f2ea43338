/** Lengths of time for people who plan by them: one or two units, never a fraction of a second. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** "under 1 s", "12 s", "4 min", "4 min 30 s" below ten minutes, "3 h 5 min", "2 days 3 h" of so many seconds. */
export function span(seconds: number): string {
  const whole = Math.round(Math.max(0, seconds));
  if (whole < 1) return 'under 1 s';
  if (whole < MINUTE) return `${whole} s`;
  if (whole < 10 * MINUTE) return two(whole, MINUTE, 'min', 1, 's');
  if (whole < HOUR) return `${Math.floor(whole / MINUTE)} min`;
  if (whole < DAY) return two(whole, HOUR, 'h', MINUTE, 'min');
  const [days, unit] = whole < 2 * DAY ? [DAY, 'day'] : [DAY, 'days'];
  return two(whole, days, unit, HOUR, 'h');
}

/** How long ago something was, as a length in one unit: "4 min", to be put after "for" or before "ago". */
export function since(at: string, now: number): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(at)) / 1000));
  if (seconds < MINUTE) return `${seconds} s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min`;
  return seconds < 2 * DAY ? `${Math.floor(seconds / HOUR)} h` : `${Math.floor(seconds / DAY)} days`;
}

function two(seconds: number, big: number, bigUnit: string, small: number, smallUnit: string): string {
  const bigs = Math.floor(seconds / big);
  const smalls = Math.floor((seconds % big) / small);
  return smalls === 0 ? `${bigs} ${bigUnit}` : `${bigs} ${bigUnit} ${smalls} ${smallUnit}`;
}
