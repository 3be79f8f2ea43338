/** What became of commands over time, as the API counts them, made ready for tiles and charts. */

/** How commands ended. */
export interface Figures {
  total: number;
  success: number;
  failed: number;
  unverified: number;
  /** Percent; 0 when there is none. */
  success_rate: number;
  avg_attempts: number | null;
  time_to_verify_p50_s: number | null;
  time_to_verify_p95_s: number | null;
}

/** Commands that ended in one span. */
export interface Span extends Figures {
  /** Its beginning. */
  at: string;
}

/** `GET /metrics/downlinks`. */
export interface DownlinkMetrics extends Figures {
  period_hours: number;
  under_way: number;
  by_state: Record<string, number>;
  by_reason: Record<string, number>;
  by_gateway: (Figures & { gateway_id: string | null })[];
  over_time?: Span[];
  by_attempts?: (Figures & { attempts: number })[];
  /** How many were proven within so many seconds; null: later than all the others. */
  time_to_verify: { up_to_s: number | null; commands: number }[];
}

/** A part of time, seconds since the epoch. */
export interface Range {
  from: number;
  to: number;
}

/** A period to look at, and the spans that it is cut into. */
export interface Period {
  hours: number;
  label: string;
  step: string;
}

export const PERIODS: readonly [Period, ...Period[]] = [
  { hours: 24, label: '24 hours', step: '30m' },
  { hours: 168, label: '7 days', step: '3h' },
  { hours: 720, label: '30 days', step: '12h' },
];

/** Commands that were tried to the end: those that the share is of. */
export function tried(figures: Pick<Figures, 'success' | 'failed' | 'unverified'>): number {
  return figures.success + figures.failed + figures.unverified;
}

/** "98 %", rounded down so that 100 is said only when it is true; null when nothing was tried. */
export function verifiedShareWords(figures: Pick<Figures, 'success' | 'failed' | 'unverified'>): string | null {
  const all = tried(figures);
  if (all === 0) return null;
  const percent = (figures.success / all) * 100;
  return percent > 99 && percent < 100 ? `${(Math.floor(percent * 10) / 10).toFixed(1)} %` : `${Math.floor(percent)} %`;
}

/** The spans' beginnings, seconds since the epoch. */
export function times(spans: readonly Span[]): number[] {
  return spans.map(({ at }) => Date.parse(at) / 1000);
}

/** What ended in a part of time, added up. */
export function within(spans: readonly Span[], range: Range): Pick<Figures, 'total' | 'success' | 'failed' | 'unverified'> {
  const sum = { total: 0, success: 0, failed: 0, unverified: 0 };
  for (const span of spans) {
    const at = Date.parse(span.at) / 1000;
    if (at < range.from || at > range.to) continue;
    sum.total += span.total;
    sum.success += span.success;
    sum.failed += span.failed;
    sum.unverified += span.unverified;
  }
  return sum;
}

/** "0.4 s", "12 s", "3 min". */
export function secondsWords(seconds: number | null): string {
  if (seconds === null) return '–';
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** How many commands took one, two, three and more attempts. */
export function attemptShares(byAttempts: readonly { attempts: number; total: number }[]): { label: string; count: number }[] {
  const count = (from: number, to: number) =>
    byAttempts.reduce((sum, { attempts, total }) => sum + (attempts >= from && attempts <= to ? total : 0), 0);
  return [
    { label: '1 attempt', count: count(1, 1) },
    { label: '2 attempts', count: count(2, 2) },
    { label: '3 attempts', count: count(3, 3) },
    { label: 'more', count: count(4, Infinity) },
  ];
}

/** How many commands were proven how soon, in as many steps as a glance takes. */
export function timeShares(times: DownlinkMetrics['time_to_verify']): { label: string; count: number }[] {
  const steps = [5, 10, 30, 120];
  const count = (above: number, upTo: number) =>
    times.reduce((sum, { up_to_s, commands }) => {
      const end = up_to_s ?? Infinity;
      return sum + (end > above && end <= upTo ? commands : 0);
    }, 0);
  const shares = steps.map((step, index) => ({ label: `up to ${secondsWords(step).replace('.0', '')}`, count: count(steps[index - 1] ?? 0, step) }));
  return [...shares, { label: 'longer', count: count(steps.at(-1) ?? 0, Infinity) }];
}
