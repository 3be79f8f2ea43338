import { expect, it } from 'vitest';
import { expiry, keyState } from './key-words';

const NOW = Date.parse('2026-05-01T12:00:00Z');

it.each([
  ['Works', true, null, null],
  ['Works', true, expiry(30, NOW), null],
  ['Ends soon', true, expiry(3, NOW), null],
  ['Expired', false, new Date(NOW).toISOString(), null],
  ['Revoked', false, expiry(30, NOW), expiry(-1, NOW)],
])('a key that "%s"', (label, works, expires_at, revoked_at) => {
  expect(keyState({ expires_at, revoked_at }, NOW)).toMatchObject({ label, works });
});
