/**
 * How live events change what is shown.
 *
 * Events and answers may cross on the way. So commands merge by their time of change, and timelines by what they say:
 * each order of arrival ends in the same picture.
 */
import type { Device, DevicePatch, Downlink, DownlinkEvent, Gateway, TimelineEntry } from './types';

const BLANK_DEVICE: Omit<Device, 'lorawan_dev_eui'> = {
  id: '',
  name: '',
  status: 'never_seen',
  last_seen: null,
  signal_strength: null,
  snr: null,
  battery_level: null,
  desired: null,
  reported: null,
  chirpstack_synced: false,
};

const TERMINAL = new Set(['verified', 'sent', 'unverified', 'failed', 'superseded', 'cancelled', 'expired']);

/** Whether nothing more happens to a command, save a late proof. */
export function isTerminal(downlink: Pick<Downlink, 'state'>): boolean {
  return TERMINAL.has(downlink.state);
}

/** The device after an event; an unknown one starts with what the event says. */
export function mergeDevice(known: Device | undefined, patch: DevicePatch): Device {
  return { ...(known ?? { ...BLANK_DEVICE, name: patch.lorawan_dev_eui }), ...patch };
}

/**
 * The device after the registry was asked for it: what people decide is the answer's, and what changes by itself stays as
 * live events told it, of which some may have overtaken the answer.
 */
export function mergeRegistered(known: Device | undefined, answer: Device): Device {
  if (!known || known.id !== answer.id) return answer;
  const { status, last_seen, signal_strength, snr, battery_level, desired, reported } = known;
  return { ...answer, status, last_seen, signal_strength, snr, battery_level, desired, reported };
}

/** The gateway after an event. */
export function mergeGateway(known: Gateway | undefined, patch: Gateway): Gateway {
  return { ...known, ...patch };
}

/** The command after an event or an answer: the later record wins, the timelines are joined. */
export function mergeDownlink(known: Downlink | undefined, news: Downlink): Downlink {
  if (!known) return news;
  const [older, newer] = isNewer(known, news) ? [news, known] : [known, news];
  const merged: Downlink = { ...older, ...newer };
  if (known.timeline || news.timeline) {
    merged.timeline = mergeTimelines(known.timeline ?? [], news.timeline ?? []);
  }
  return merged;
}

/** A live event as a command with a timeline of at most one step. */
export function fromEvent(event: DownlinkEvent): Downlink {
  const { step, ...downlink } = event;
  return step ? { ...downlink, timeline: [step] } : downlink;
}

/** Both timelines' entries, each once, in the order of their numbers, else of their times. */
export function mergeTimelines(a: TimelineEntry[], b: TimelineEntry[]): TimelineEntry[] {
  const entries = new Map<string, TimelineEntry>();
  for (const entry of [...a, ...b]) entries.set(entryKey(entry), entry);
  return [...entries.values()].sort(
    (x, y) => (x.seq ?? 0) - (y.seq ?? 0) || Date.parse(x.at) - Date.parse(y.at),
  );
}

/** The newest unfinished command of each light, by DevEUI. */
export function activeByDevice(downlinks: Iterable<Downlink>): Map<string, Downlink> {
  const active = new Map<string, Downlink>();
  for (const downlink of downlinks) {
    if (isTerminal(downlink)) continue;
    const other = active.get(downlink.dev_eui);
    if (!other || other.created_at < downlink.created_at) active.set(downlink.dev_eui, downlink);
  }
  return active;
}

/** Verified of those that asked for proof and came to an end, 0 to 1; null when there is none yet. */
export function verifiedShare(downlinks: Iterable<Downlink>): number | null {
  let asked = 0;
  let proven = 0;
  for (const { state } of downlinks) {
    if (state === 'verified') proven += 1;
    if (state === 'verified' || state === 'unverified' || state === 'failed' || state === 'expired') asked += 1;
  }
  return asked === 0 ? null : proven / asked;
}

/** At the same millisecond, an end is newer than what leads to it. */
function isNewer(a: Downlink, b: Downlink): boolean {
  const difference = changedAt(a) - changedAt(b);
  return difference > 0 || (difference === 0 && isTerminal(a) && !isTerminal(b));
}

function changedAt(downlink: Downlink): number {
  return Date.parse(downlink.updated_at ?? downlink.finished_at ?? downlink.created_at);
}

function entryKey(entry: TimelineEntry): string {
  if (entry.seq !== undefined) return `#${entry.seq}`;
  return `${Date.parse(entry.at)}|${entry.step}|${entry.attempt ?? ''}`;
}
