/** Times in words: how long ago, and how long after the start. */

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });
const MOMENT = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });
const HOUR = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const SECOND = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const DAY = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

/** "4 s ago", "12 min ago", "3 h ago", "2 days ago"; a time ahead of this clock is "now". */
export function ago(at: string, now: number): string {
  const seconds = Math.floor((now - Date.parse(at)) / 1000);
  if (Number.isNaN(seconds)) return at;
  if (seconds < 1) return 'now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} days ago`;
}

/** How far away a time is on either side of now: "4 s ago", "in 3 min". */
export function relative(at: string, now: number): string {
  const ahead = Date.parse(at) - now;
  return Number.isNaN(ahead) || ahead < 1000 ? ago(at, now) : `in ${brief(ahead / 1000)}`;
}

/** A span in one unit: "4 s", "12 min", "3 h", "2 days". */
export function brief(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.round(whole / 60)} min`;
  if (whole < 48 * 3600) return `${Math.round(whole / 3600)} h`;
  return `${Math.round(whole / 86_400)} days`;
}

/** "+0.42 s", "+12.3 s", "+4 min 5 s" after the start. */
export function after(start: string, at: string): string {
  return `+${duration(Date.parse(at) - Date.parse(start))}`;
}

/** "0.42 s", "12.3 s", "4 min 5 s", "2 h 3 min" of so many milliseconds; never below zero. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** The full local date and time, for those who hover. */
export function exact(at: string): string {
  const time = Date.parse(at);
  return Number.isNaN(time) ? at : EXACT.format(time);
}

/** The local time of day. */
export function clock(at: string | number): string {
  return CLOCK.format(typeof at === 'number' ? at : Date.parse(at));
}

/** "Nov 23, 14:05": a moment of a chart, seconds since the epoch. */
export function moment(seconds: number): string {
  return MOMENT.format(seconds * 1000);
}

/** "14:05", or the day at midnight, or "14:05:10" where marks are less than a minute apart: a mark on a chart's axis, seconds since the epoch. */
export function axisTime(seconds: number, step = 60): string {
  const date = new Date(seconds * 1000);
  if (step < 60) return SECOND.format(date);
  const midnight = date.getHours() === 0 && date.getMinutes() === 0;
  return midnight ? DAY.format(date) : HOUR.format(date);
}
