/** Which devices of the list are shown: the filters of the address, under the names that the API has for them. */
import { sameLight } from './colour-names';
import type { Device } from './types';

/** The filters; an empty text or null leaves all. */
export interface DeviceFilter {
  /** In the name or DevEUI. */
  q: string;
  /** `online`, `offline` or `never_seen`. */
  status: string;
  /** Id of a gateway that hears the device. */
  gateway: string;
  /** `floor`, or `floor:2`. */
  tag: string;
  synced: boolean | null;
  converged: boolean | null;
}

const STATUSES = new Set(['online', 'offline', 'never_seen']);

/** The filter of an address; what it cannot mean is left out. */
export function filterOf(query: URLSearchParams): DeviceFilter {
  const status = query.get('status') ?? '';
  return {
    q: query.get('q') ?? '',
    status: STATUSES.has(status) ? status : '',
    gateway: query.get('gateway') ?? '',
    tag: query.get('tag') ?? '',
    synced: flag(query.get('synced')),
    converged: flag(query.get('converged')),
  };
}

/** Whether it leaves anything out. */
export function isNarrow(filter: DeviceFilter): boolean {
  const { q, status, gateway, tag, synced, converged } = filter;
  return q.trim() !== '' || status !== '' || gateway !== '' || tag !== '' || synced !== null || converged !== null;
}

/** Whether the light is known to show what is wanted of it; one of which nothing is wanted is where it should be. */
export function isConverged(device: Pick<Device, 'desired' | 'reported'>): boolean {
  if (!device.desired) return true;
  return device.reported !== null && sameLight(device.desired, device.reported);
}

/**
 * The devices that are left, in the same order.
 *
 * `heard` are the DevEUIs that the filter's gateway hears; null while they are not known, which leaves none.
 */
export function filtered(devices: readonly Device[], filter: DeviceFilter, heard: ReadonlySet<string> | null): readonly Device[] {
  if (!isNarrow(filter)) return devices;
  const words = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
  const [tag, tagValue] = parts(filter.tag);
  return devices.filter((device) => {
    const devEui = device.lorawan_dev_eui ?? '';
    if (filter.status !== '' && device.status !== filter.status) return false;
    if (filter.synced !== null && isSynced(device) !== filter.synced) return false;
    if (filter.converged !== null && isConverged(device) !== filter.converged) return false;
    if (tag !== '' && !hasTag(device, tag, tagValue)) return false;
    if (filter.gateway !== '' && heard?.has(devEui) !== true) return false;
    const text = words.length > 0 ? `${device.name} ${devEui}`.toLowerCase() : '';
    return words.every((word) => text.includes(word));
  });
}

/** The devices in another order than by name: `status`, `last_seen`, `-last_seen` or `signal_strength`. */
export function inOrder(devices: readonly Device[], order: string): readonly Device[] {
  switch (order) {
    case 'status':
      return devices.toSorted((a, b) => STATUS_ORDER.indexOf(a.status) - STATUS_ORDER.indexOf(b.status));
    case 'last_seen':
      return devices.toSorted((a, b) => text(b.last_seen, a.last_seen));
    case '-last_seen':
      return devices.toSorted((a, b) => text(a.last_seen, b.last_seen));
    case 'signal_strength':
      return devices.toSorted((a, b) => (a.signal_strength ?? Infinity) - (b.signal_strength ?? Infinity));
    default:
      return devices;
  }
}

/** Those to look after come first. */
const STATUS_ORDER = ['offline', 'never_seen', 'online'];

/** Every tag with its values, as the filter names them: `floor`, `floor:1`, `floor:2`. */
export function tagsOf(devices: readonly Device[]): string[] {
  const found = new Set<string>();
  for (const { tags } of devices) {
    for (const [name, value] of Object.entries(tags ?? {})) {
      found.add(name);
      if (value !== '') found.add(`${name}:${value}`);
    }
  }
  return [...found].sort((a, b) => TAGS.compare(a, b));
}

const TAGS = new Intl.Collator(undefined, { numeric: true });

/** One that is not kept in step is neither synced nor not, as in the API. */
function isSynced(device: Device): boolean | null {
  if (device.chirpstack_synced) return true;
  return device.sync ? false : null;
}

function hasTag({ tags }: Device, name: string, value: string | null): boolean {
  const own = tags?.[name];
  return own !== undefined && (value === null || own === value);
}

/** RFC 3339 times of one zone sort as text; one that is not known is the oldest. */
function text(a: string | null, b: string | null): number {
  if (a === b) return 0;
  return (a ?? '') < (b ?? '') ? -1 : 1;
}

function parts(tag: string): [string, string | null] {
  const colon = tag.indexOf(':');
  return colon < 0 ? [tag, null] : [tag.slice(0, colon), tag.slice(colon + 1)];
}

function flag(text: string | null): boolean | null {
  if (text === 'true') return true;
  return text === 'false' ? false : null;
}
