/** The audit log in words: what was done, and what is different after it. */

import { colourName, toHex } from './colour-names';
import type { Rgb } from './types';

/** A field that an entry changed; text as it is shown, null where there was or is none. */
export interface ChangedField {
  field: string;
  before: string | null;
  after: string | null;
}

const ACTIONS: Record<string, string> = {
  'tenant.create': 'made the tenant',
  'tenant.update': 'changed the tenant',
  'tenant.delete': 'deleted the tenant',
  'device.create': 'registered the device',
  'device.update': 'changed the device',
  'device.delete': 'deleted the device',
  'device.desire': 'wants a colour of the device',
  'device.desire_nothing': 'wants nothing of the device any more',
  'device.flush_queue': 'flushed the queue in ChirpStack of the device',
  'device.initialise': 'initialised the device',
  'device.sync': 're-synced the device',
  'device.sync_all': 're-synced all devices',
  'downlink.send': 'sent a command to the device',
  'downlink.cancel': 'cancelled the command to',
  'downlink.initialise': 'initialised the device',
  'job.create': 'began the job',
  'job.pause': 'paused the job',
  'job.resume': 'resumed the job',
  'job.cancel': 'cancelled the job',
  'key.create': 'made the key',
  'key.revoke': 'revoked the key',
  'network_server.set': 'set the ChirpStack of the tenant',
  'network_server.delete': 'removed the ChirpStack of the tenant',
};

/** Kinds of things that the log is about, for its filter. */
export const KINDS: readonly [kind: string, label: string][] = [
  ['device', 'Devices'],
  ['downlink', 'Commands'],
  ['job', 'Jobs'],
  ['key', 'Keys'],
  ['tenant', 'Tenants'],
  ['network_server', 'ChirpStack connections'],
];

/** Fields that change with everything and tell nothing, or that an entry tells anyway. */
const NOISE = new Set(['version', 'updated_at', 'id', 'tenant_id']);

/** "changed the device". */
export function actionWords(action: string): string {
  return ACTIONS[action] ?? action.replaceAll('_', ' ').replace('.', ': ');
}

/** The page of what an entry is about; null if it has none. */
export function objectPath(action: string, objectId: string): string | null {
  const id = encodeURIComponent(objectId);
  if (action.startsWith('job.')) return `/jobs/${id}`;
  const isDevice = action.startsWith('device.') && action !== 'device.delete' && action !== 'device.sync_all';
  return isDevice && UUID.test(objectId) ? `/devices/${id}` : null;
}

/** The DevEUI of the device that an entry's command is for; null if it is about no command, or does not say. */
export function commandedDevice({ action, before, after }: { action: string; before: unknown; after: unknown }): string | null {
  if (!action.startsWith('downlink.')) return null;
  const devEui = record(after)['dev_eui'] ?? record(before)['dev_eui'];
  return typeof devEui === 'string' ? devEui : null;
}

/** What an entry is about, as people call it: its name, else its DevEUI, else its id. */
export function objectName(entry: { object_id: string; before: unknown; after: unknown }): string {
  for (const side of [entry.after, entry.before]) {
    const { name, lorawan_dev_eui: devEui } = record(side);
    if (typeof name === 'string' && name !== '') return name;
    if (typeof devEui === 'string') return devEui;
  }
  return entry.object_id;
}

/** Where a request came from: an address, else who else may do so. */
export function originWords(entry: { name: string; address: string | null }): string {
  if (entry.address) return `from ${entry.address}`;
  if (entry.name === 'command line') return 'on the server’s command line';
  return entry.name === 'downbeat' ? 'by itself' : '';
}

/** A field's path as people read it: `order.command.set_light.on_time` is "On time". */
export function pathWords(path: string): string {
  if (path.startsWith('tags.')) return `Tag ${path.slice('tags.'.length)}`;
  const words = path
    .split('.')
    .filter((part) => !WRAPPERS.has(part))
    .map((part) => part.replaceAll('_', ' '))
    .join(', ');
  return words === '' ? path : words.charAt(0).toUpperCase() + words.slice(1);
}

/** What is different after an entry, field by field; of a new or deleted object, all that it has. */
export function changes(before: unknown, after: unknown): ChangedField[] {
  const [old, now] = [flat(before), flat(after)];
  const fields = [...new Set([...old.keys(), ...now.keys()])];
  return fields
    .filter((field) => !NOISE.has(field))
    .map((field) => ({ field, before: old.get(field) ?? null, after: now.get(field) ?? null }))
    .filter((change) => change.before !== change.after);
}

/** Parts of a path that only hold others. */
const WRAPPERS = new Set(['order', 'command', 'set_light', 'light']);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function isColour(value: object): value is Rgb {
  const { red, green, blue } = value as Record<string, unknown>;
  const levels = [red, green, blue].every((level) => typeof level === 'number');
  return levels && Object.keys(value).length === 3;
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** Leaves by their path, `tags.floor`; null and empty objects are as good as absent, and a colour is one. */
function flat(value: unknown, path = '', into = new Map<string, string>()): Map<string, string> {
  if (value === null || value === undefined) return into;
  if (typeof value !== 'object') into.set(path || 'value', String(value));
  else if (Array.isArray(value) && value.every((item) => typeof item !== 'object')) into.set(path || 'value', value.join(', '));
  else if (isColour(value)) into.set(path || 'value', `${colourName(value)}, ${toHex(value)}`);
  else for (const [name, inner] of Object.entries(value)) flat(inner, path ? `${path}.${name}` : name, into);
  return into;
}
