/**
 * A gateway's state in words, with the evidence that it rests on.
 *
 * ChirpStack's own word is one witness of several: it calls a gateway online for a while after its power went, and one
 * that sends no statistics offline although it hears devices. So what was seen is told beside what ChirpStack says.
 */
import type { GatewayChange, GatewayInfo, GatewayStatus, LinkQuality } from './api/gateways';
import { since } from './span';
import type { Tone } from './words';

/** What a gateway is, at a time. */
export type GatewayCondition = 'online' | 'offline' | 'mute' | 'never_seen' | 'unknown';

/** A stretch of a gateway's history; times in milliseconds since the epoch. */
export interface Stretch {
  from: number;
  to: number;
  condition: GatewayCondition;
}

const CONDITIONS: Record<GatewayCondition, [label: string, tone: Tone]> = {
  online: ['Online', 'good'],
  offline: ['Offline', 'bad'],
  mute: ['Does not send', 'bad'],
  never_seen: ['Never seen', 'quiet'],
  unknown: ['Not known', 'quiet'],
};

const AFTER: Record<string, GatewayCondition> = {
  came_online: 'online',
  went_offline: 'offline',
  fell_mute: 'mute',
  sends_again: 'online',
};

const CHANGES: Record<string, string> = {
  came_online: 'came online',
  went_offline: 'went offline',
  fell_mute: 'stopped sending',
  sends_again: 'sends again',
};

const DIAGNOSES: Record<string, [label: string, tone: Tone, meaning: string]> = {
  fine: ['Fine', 'good', 'Uplinks and downlinks get through.'],
  lossy_uplink: ['Loses uplinks', 'setback', 'Many of the device’s uplinks do not get through here.'],
  downlink_dead: [
    'Downlink dead',
    'bad',
    'Uplinks get through, and none of the last downlinks did: look at the antenna’s transmit side and the gateway’s power.',
  ],
  silent: ['Silent', 'quiet', 'Not heard here for a day.'],
};

/** What the gateway is now. */
export function condition(gateway: Pick<GatewayInfo, 'state' | 'mute_since'>): GatewayCondition {
  if (gateway.state === 'online') return gateway.mute_since ? 'mute' : 'online';
  return gateway.state === 'offline' || gateway.state === 'never_seen' ? gateway.state : 'unknown';
}

/** A condition's label and tone. */
export function conditionWords(of: GatewayCondition): { label: string; tone: Tone } {
  const [label, tone] = CONDITIONS[of];
  return { label, tone };
}

/** A change in words: "came online". */
export function changeWords(transition: string): string {
  return CHANGES[transition] ?? transition.replaceAll('_', ' ');
}

/** Since when the gateway is what it is, RFC 3339; null if that is not remembered. */
export function conditionSince(
  gateway: Pick<GatewayInfo, 'state' | 'mute_since' | 'last_seen'>,
  history: readonly GatewayChange[],
): string | null {
  const now = condition(gateway);
  if (now === 'mute') return gateway.mute_since;
  const last = history.at(-1);
  if (last && AFTER[last.transition] === now) return last.at;
  return now === 'offline' ? gateway.last_seen : null;
}

/** Why the gateway is called what it is called, in sentences; `now` in milliseconds since the epoch. */
export function evidence(gateway: GatewayInfo & Partial<GatewayStatus>, now: number): string[] {
  const seen = gateway.last_seen ? `${since(gateway.last_seen, now)} ago` : null;
  const listed = gateway.chirpstack_state;
  switch (condition(gateway)) {
    case 'never_seen':
      return [
        'No sign of life since it was added: no statistics and no uplink.',
        'Does it have power and network, and is its id in ChirpStack the one printed on it?',
      ];
    case 'offline':
      return [
        seen ? `Its last sign of life was ${seen}.` : 'No sign of life is remembered.',
        listed === 'online'
          ? 'ChirpStack still calls it online, which it does for a while after the last statistics.'
          : 'ChirpStack calls it offline, too.',
        'Devices that no other gateway hears are not reached until it is back.',
      ];
    case 'mute':
      return [
        `It hears devices${seen ? ` (${seen})` : ''}, but took no downlink since ${gateway.mute_since ? `${since(gateway.mute_since, now)} ago` : 'a while'}, while other gateways do.`,
        'Is its downlink connection open, and is its transmit power allowed? A restart of its packet forwarder often helps.',
      ];
    case 'online':
      return [
        seen ? `Its last sign of life was ${seen}.` : 'It gave a sign of life.',
        ...heardWords(gateway, now),
        ...(listed === null ? ['It is not listed in ChirpStack for this key.'] : []),
        ...(listed !== null && listed !== 'online'
          ? [`ChirpStack calls it ${listed.replaceAll('_', ' ')}; what it heard says otherwise.`]
          : []),
        ...(gateway.alive ? [] : ['It is not counted on for downlinks until there is fresh evidence.']),
      ];
    case 'unknown':
      return [`The server calls it ${gateway.state.replaceAll('_', ' ')}.`];
  }
}

/** The stretches from `from` to `now`, oldest first, without gaps; what was before the first change is inferred from it. */
export function stretches(
  gateway: Pick<GatewayInfo, 'state' | 'mute_since' | 'last_seen'>,
  history: readonly GatewayChange[],
  from: number,
  now: number,
): Stretch[] {
  const changes = history
    .map(({ at, transition }) => ({ at: Date.parse(at), after: AFTER[transition] ?? 'unknown' }))
    .filter(({ at }) => at <= now);
  const before = changes.findLast(({ at }) => at <= from);
  const within = changes.filter(({ at }) => at > from);
  const all: Stretch[] = [];
  let current: GatewayCondition = before?.after ?? (changes.length ? 'unknown' : condition(gateway));
  let begun = from;
  for (const { at, after } of within) {
    if (at > begun) all.push({ from: begun, to: at, condition: current });
    begun = at;
    current = after;
  }
  all.push({ from: begun, to: now, condition: within.length || before ? current : condition(gateway) });
  return all;
}

/** The share of known time that the gateway was online and sending, 0 to 1; null if nothing is known. */
export function availability(history: readonly Stretch[]): number | null {
  const length = (of: readonly Stretch[]) => of.reduce((sum, { from, to }) => sum + to - from, 0);
  const known = length(history.filter(({ condition: is }) => is !== 'unknown' && is !== 'never_seen'));
  return known === 0 ? null : length(history.filter(({ condition: is }) => is === 'online')) / known;
}

/** A link's diagnosis: label, tone, and what it means. */
export function diagnosisWords(diagnosis: string): { label: string; tone: Tone; meaning: string } {
  const [label, tone, meaning] = DIAGNOSES[diagnosis] ?? [diagnosis.replaceAll('_', ' '), 'quiet' as const, ''];
  return { label, tone, meaning };
}

/** "−92.3 ± 4.1 dBm": average and spread, with a true minus. */
export function levelWords(average: number, spread: number, unit: string): string {
  return `${signed(average)} ± ${spread.toFixed(1)} ${unit}`;
}

/** Links that need somebody first: dead downlinks, then lossy ones, then by DevEUI. */
export function byConcern<T extends Pick<LinkQuality, 'diagnosis'> & { dev_eui: string }>(links: readonly T[]): T[] {
  const order = ['downlink_dead', 'lossy_uplink', 'fine', 'silent'];
  const rank = (link: T) => (order.indexOf(link.diagnosis) + order.length + 1) % (order.length + 1);
  return [...links].sort((a, b) => rank(a) - rank(b) || a.dev_eui.localeCompare(b.dev_eui));
}

function heardWords(gateway: Partial<GatewayStatus>, now: number): string[] {
  const words: string[] = [];
  if (gateway.last_heard) {
    const { at, rssi_dbm, snr_db } = gateway.last_heard;
    words.push(`It heard a device ${since(at, now)} ago, at ${signed(rssi_dbm, 0)} dBm and ${signed(snr_db)} dB SNR.`);
  }
  if (gateway.last_taken) words.push(`It took its last downlink ${since(gateway.last_taken, now)} ago.`);
  return words;
}

function signed(value: number, digits = 1): string {
  return value.toFixed(digits).replace('-', '−');
}
