/** One device with all that the registry holds of it, and its history. */
import { exchange, get, request } from './api';
import type { Device } from './types';

/** As `GET …/devices/{device_id}` answers. */
export interface DeviceDetail extends Device {
  device_type: string;
  description: string;
  tags: Record<string, string>;
  chirpstack_app_id: string | null;
  device_profile_id: string | null;
  join_eui: string | null;
  app_key_set: boolean;
  app_key_is_default: boolean;
  codec: string;
  uplink_interval_s: number | null;
  uplinks_heard: number;
  uplinks_missed: number;
  initialised_at: string | null;
  initialisation: { state: string; step: number | null; steps: number } | null;
  created_at: string;
  updated_at: string;
}

/** The device, and its tag for a change. */
export interface Tagged {
  device: DeviceDetail;
  etag: string | null;
}

/** How a device gets on with a gateway. */
export interface Link {
  gateway_id: string;
  in_last_uplink: boolean;
  rssi_average: number;
  snr_average: number;
  /** Percent. */
  uplink_loss: number;
  uplinks_heard: number;
  downlinks_taken: number;
  downlinks_proven: number;
  downlinks_unproven: number;
  last_heard_at: string;
  first_heard_at: string;
  /** `fine`, `lossy_uplink`, `downlink_dead` or `silent`. */
  diagnosis: string;
}

/** One entry of a device's history. */
export interface DeviceEvent {
  id: string;
  at: string;
  kind: string;
  body: Record<string, unknown>;
}

/** One point of telemetry. */
export interface Point {
  at: string;
  mean: number | null;
  min: number | null;
  max: number | null;
}

export async function device(tenant: string, id: string, signal?: AbortSignal): Promise<Tagged> {
  const { value, etag } = await exchange<DeviceDetail>('GET', path(tenant, id), undefined, signal ? { signal } : {});
  return { device: value, etag };
}

/** Registers a device, or changes the one given; a change of another in between is refused. */
export function save(tenant: string, fields: object, known: Tagged | null): Promise<DeviceDetail> {
  if (!known) return request('POST', `/tenants/${tenant}/devices`, fields);
  const headers: Record<string, string> = known.etag === null ? {} : { 'if-match': known.etag };
  return request('PATCH', path(tenant, known.device.id), fields, { headers });
}

export function remove(tenant: string, id: string): Promise<void> {
  return request('DELETE', path(tenant, id));
}

/** A page of something that belongs to the device. */
export function part<T>(tenant: string, id: string, rest: string, signal?: AbortSignal): Promise<T> {
  return get(`${path(tenant, id)}/${rest}`, signal);
}

/** "floor=2, wing" as tags; a tag without a value has an empty one. */
export function readTags(text: string): Record<string, string> {
  const tags: Record<string, string> = {};
  for (const piece of text.split(/[,\n]/)) {
    const [name = '', ...value] = piece.split('=');
    if (name.trim() !== '') tags[name.trim()] = value.join('=').trim();
  }
  return tags;
}

/** Tags as text. */
export function tagsText(tags: Readonly<Record<string, string>>): string {
  return Object.entries(tags)
    .map(([name, value]) => (value === '' ? name : `${name}=${value}`))
    .join(', ');
}

/** What a change of tags has to say: those that are gone are null. */
export function tagsChange(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): Record<string, string | null> {
  const gone = Object.keys(before).filter((name) => !(name in after));
  return { ...after, ...Object.fromEntries(gone.map((name) => [name, null])) };
}

/** Each gateway's RSSI over time, from uplinks, those heard most first. */
export function receptions(uplinks: readonly DeviceEvent[]): { times: number[]; byGateway: Map<string, (number | null)[]> } {
  const ordered = uplinks.toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at));
  const byGateway = new Map<string, (number | null)[]>();
  ordered.forEach(({ body }, index) => {
    for (const reception of heard(body)) {
      const values = byGateway.get(reception.gateway_id) ?? Array<number | null>(ordered.length).fill(null);
      values[index] = reception.rssi_dbm;
      byGateway.set(reception.gateway_id, values);
    }
  });
  const count = (values: (number | null)[]) => values.filter((value) => value !== null).length;
  const sorted = [...byGateway].sort(([, a], [, b]) => count(b) - count(a));
  return { times: ordered.map(({ at }) => Date.parse(at) / 1000), byGateway: new Map(sorted) };
}

function heard(body: Record<string, unknown>): { gateway_id: string; rssi_dbm: number }[] {
  return Array.isArray(body['receptions']) ? (body['receptions'] as { gateway_id: string; rssi_dbm: number }[]) : [];
}

const KINDS: Readonly<Record<string, string>> = {
  up: 'Uplink',
  join: 'Joined the network',
  ack: 'Acknowledged',
  txack: 'Transmitted by a gateway',
  no_txack: 'Sent without a word of it',
  log: 'Message of ChirpStack',
  status: 'Status',
  location: 'Location',
  integration: 'Integration',
  online: 'Came online',
  offline: 'Went offline',
  error: 'Error',
};

/** An event in words: what it is, and what is worth knowing of it. */
export function eventWords({ kind, body }: DeviceEvent, gatewayName: (id: string) => string): { title: string; detail: string } {
  const title = KINDS[kind] ?? kind.replaceAll('_', ' ');
  if (kind === 'up') {
    const best = heard(body)[0];
    const through = best ? `heard by ${heard(body).length}, best ${gatewayName(best.gateway_id)} at ${String(best.rssi_dbm).replace('-', '−')} dBm` : '';
    return { title, detail: [`fCnt ${String(body['f_cnt'])}`, through].filter(Boolean).join(', ') };
  }
  const shown = Object.entries(body)
    .filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))
    .map(([name, value]) => fieldWords(name, value as string | number | boolean, gatewayName));
  return { title, detail: shown.slice(0, 5).join(', ') };
}

/** A field of an event, as people write it. */
function fieldWords(name: string, value: string | number | boolean, gatewayName: (id: string) => string): string {
  if (name === 'gateway_id') return `gateway ${gatewayName(String(value))}`;
  if (name === 'frequency_hz') return `${Number(value) / 1e6} MHz`;
  if (name === 'f_cnt_down') return `frame counter ${value}`;
  if (name === 'queue_id') return `queue item ${String(value).slice(0, 8)}`;
  const words = name.replaceAll('_', ' ');
  if (typeof value === 'boolean') return value ? words : `no ${words}`;
  return words.endsWith(' db') ? `${words.slice(0, -3)} ${value} dB` : `${words} ${value}`;
}

/** What a link's diagnosis means. */
export const DIAGNOSES: Readonly<Record<string, [label: string, tone: 'good' | 'setback' | 'bad' | 'quiet']>> = {
  fine: ['Fine', 'good'],
  lossy_uplink: ['Loses uplinks', 'setback'],
  downlink_dead: ['Downlinks do not arrive', 'bad'],
  silent: ['Not heard lately', 'quiet'],
};

function path(tenant: string, id: string): string {
  return `/tenants/${tenant}/devices/${encodeURIComponent(id)}`;
}
