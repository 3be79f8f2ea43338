/** API keys in words: what each role may do, and whether a key works. */
import type { ApiKey, Role } from './api/keys';
import type { Tone } from './words';

/** The roles, the least powerful first. */
export const ROLES: readonly { role: Role; label: string; may: string }[] = [
  { role: 'viewer', label: 'Viewer', may: 'sees everything and changes nothing' },
  { role: 'operator', label: 'Operator', may: 'sees everything and sends commands' },
  { role: 'admin', label: 'Admin', may: 'may do everything, keys and devices included' },
  { role: 'webhook', label: 'Webhook', may: 'delivers ChirpStack’s events and nothing else' },
];

/** How long a new key may work, in days; null: until it is revoked. */
export const LIFETIMES: readonly [label: string, days: number | null][] = [
  ['30 days', 30],
  ['90 days', 90],
  ['1 year', 365],
  ['Until it is revoked', null],
];

const DAY_MS = 86_400_000;

/** Days before its end from which on a key is said to end soon. */
const SOON_DAYS = 14;

/** Whether a key works, and for how much longer; `now` in milliseconds since the epoch. */
export function keyState(
  key: Pick<ApiKey, 'revoked_at' | 'expires_at'>,
  now: number,
): { label: string; tone: Tone; works: boolean } {
  if (key.revoked_at) return { label: 'Revoked', tone: 'quiet', works: false };
  if (!key.expires_at) return { label: 'Works', tone: 'good', works: true };
  const left = Date.parse(key.expires_at) - now;
  if (left <= 0) return { label: 'Expired', tone: 'quiet', works: false };
  if (left < SOON_DAYS * DAY_MS) return { label: 'Ends soon', tone: 'setback', works: true };
  return { label: 'Works', tone: 'good', works: true };
}

/** When a key of that lifetime ends, RFC 3339. */
export function expiry(days: number, now: number): string {
  return new Date(now + days * DAY_MS).toISOString();
}
