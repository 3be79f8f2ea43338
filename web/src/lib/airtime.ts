/** What of a gateway's airtime is used, by what, and how much is left. */
import type { SubBand } from './api/gateways';
import type { Tone } from './words';

/** What sends, in the order in which a meter stacks it. */
export const CLASSES: readonly [name: string, label: string][] = [
  ['interactive', 'People’s commands'],
  ['retry', 'Further attempts'],
  ['initialisation', 'Initialisation'],
  ['bulk', 'Jobs'],
  ['reconcile', 'Corrections'],
];

/** The whole is rounded up and its parts down: less than this is of nobody. */
const ROUNDING_MS = 10;

/** A part of a budget, in ms. */
export interface AirPart {
  name: string;
  label: string;
  ms: number;
}

/** The parts of what was sent, then what is granted; classes that are not known here keep their word. Without empty ones. */
export function airParts(band: SubBand): AirPart[] {
  const known = new Set(CLASSES.map(([name]) => name));
  const more = Object.keys(band.used_by_class_ms).filter((name) => !known.has(name));
  const classes = [...CLASSES, ...more.map((name) => [name, name.replaceAll('_', ' ')] as const)].map(([name, label]) => ({
    name,
    label,
    ms: band.used_by_class_ms[name] ?? 0,
  }));
  const ours = classes.reduce((sum, { ms }) => sum + ms, 0);
  return [
    ...classes,
    { name: 'others', label: 'Others', ms: band.used_ms - ours < ROUNDING_MS ? 0 : band.used_ms - ours },
    { name: 'reserved', label: 'Granted, not sent yet', ms: band.reserved_ms },
  ].filter(({ ms }) => ms > 0);
}

/** The share of a budget that is used or granted, 0 to 1 and above; null where there is no budget. */
export function airShare(band: Pick<SubBand, 'budget_ms' | 'used_ms' | 'reserved_ms'>): number | null {
  if (band.budget_ms === null) return null;
  return (band.used_ms + band.reserved_ms) / Math.max(1, band.budget_ms);
}

/** How tight it is. */
export function airTone(share: number | null): Tone {
  if (share === null || share < 0.7) return 'good';
  return share < 0.95 ? 'setback' : 'bad';
}

/** "12.4 s of 360 s", or what was sent where anything may be. */
export function airWords(band: Pick<SubBand, 'budget_ms' | 'used_ms' | 'reserved_ms'>): string {
  const used = seconds(band.used_ms + band.reserved_ms);
  return band.budget_ms === null ? `${used}, no limit` : `${used} of ${seconds(band.budget_ms)}`;
}

/** "869.40–869.65 MHz". */
export function rangeWords(band: Pick<SubBand, 'from_hz' | 'to_hz'>): string {
  const mhz = (hz: number) => (hz / 1e6).toFixed(2);
  return `${mhz(band.from_hz)}–${mhz(band.to_hz)} MHz`;
}

/** "0.16 s", "12.4 s", "360 s" of so many milliseconds. */
export function seconds(ms: number): string {
  const value = ms / 1000;
  return `${value < 1 ? Number(value.toFixed(2)) : value < 100 ? Number(value.toFixed(1)) : Math.round(value)} s`;
}
