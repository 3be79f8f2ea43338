/**
 * A command's life in words.
 *
 * Steps, reasons and kinds of evidence that are not known here are shown as they came, with the underscores taken out:
 * a newer server must never leave this page silent.
 */
import { lightWords } from './colour-names';
import { after, clock, duration } from './time';
import type { Downlink, Evidence, Reason, TimelineEntry } from './types';

/** How a step or state looks: done, under way, a setback that is tried again, ended badly, ended without result. */
export type Tone = 'good' | 'going' | 'setback' | 'bad' | 'quiet';

/** One row of the story, ready to show. */
export interface StoryRow {
  key: string;
  tone: Tone;
  /** "+0.42 s" after acceptance. */
  after: string;
  at: string;
  title: string;
  /** Sentences below the title: why, by whom, with which proof. */
  details: string[];
  /** Set where a new attempt begins. */
  attempt: number | null;
}

/** One station of the progress line. */
export interface Station {
  name: string;
  reached: 'done' | 'current' | 'ahead' | 'failed' | 'dropped';
  /** "+0.42 s", when it was reached. */
  after: string | null;
}

/** Gives a gateway's name by its id. */
export type GatewayName = (gatewayId: string) => string;

const STATES: Record<string, [label: string, tone: Tone]> = {
  accepted: ['Accepted', 'going'],
  waiting: ['Waiting', 'setback'],
  enqueued: ['Enqueued', 'going'],
  transmitted: ['Transmitted', 'going'],
  verified: ['Verified', 'good'],
  sent: ['Sent', 'good'],
  unverified: ['Unverified', 'bad'],
  failed: ['Failed', 'bad'],
  superseded: ['Superseded', 'quiet'],
  cancelled: ['Cancelled', 'quiet'],
  expired: ['Expired', 'bad'],
};

const STEPS: Record<string, [title: string, tone: Tone]> = {
  accepted: ['Accepted and stored', 'going'],
  waiting: ['Waiting', 'setback'],
  enqueued: ['Enqueued in ChirpStack', 'going'],
  not_transmitted: ['Not transmitted', 'setback'],
  refused: ['Refused by the gateway', 'setback'],
  transmitted: ['Transmitted', 'going'],
  attempt_failed: ['This attempt did not do', 'setback'],
  not_confirmed: ['No proof in time', 'setback'],
  verified: ['Verified', 'good'],
  sent: ['Sent', 'good'],
  unverified: ['Given up without proof', 'bad'],
  failed: ['Failed', 'bad'],
  superseded: ['Superseded', 'quiet'],
  cancelled: ['Cancelled', 'quiet'],
  expired: ['Expired', 'bad'],
};

const REASONS: Record<string, string> = {
  behind_another: 'another command of this light goes first',
  behind_queue_item: 'an older frame may still be in ChirpStack’s queue and is let go out or expire',
  paced: 'its turn has not come: the air is shared',
  no_gateway: 'no gateway that hears this light is online',
  before_first_uplink: 'the light joined and has not spoken yet',
  server_unavailable: 'ChirpStack does not answer',
  key_refused: 'ChirpStack does not accept the API key: set another',
  answer_lost: 'ChirpStack’s answer was lost; its queue is looked at',
  server_error: 'ChirpStack answered with an error',
  unknown_device: 'ChirpStack does not know this light',
  not_transmitted: 'no gateway took the frame',
  gateway_refused: 'the gateway refused it',
  payload_too_large: 'it is larger than the data rate allows',
  not_confirmed: 'the light did not report the colour in time',
  lost_on_air: 'the light spoke again and had not received it',
  another_received: 'the light received something else',
  uncounted: 'the light shows it, but had not been counted before; sent once more to be counted',
  not_acknowledged: 'the light answered that it did not receive it',
  device_restarted: 'the light restarted and forgot it',
  newer_command: 'a newer command took its place',
  newer: 'a newer command took its place',
};

/** Fields of a step that have words of their own; others are shown as they came. */
const TOLD = new Set([
  'at', 'seq', 'step', 'attempt', 'reason', 'reason_detail', 'queue_id', 'expires_at', 'gateway_id', 'f_cnt_down',
  'spreading_factor', 'presumed', 'foreign_items', 'status', 'until', 'evidence', 'late', 'state', 'detail',
]);

/** The label and tone of a command's state. */
export function stateWords(state: string): { label: string; tone: Tone } {
  const [label, tone] = STATES[state] ?? [capital(plain(state)), 'going' as const];
  return { label, tone };
}

/** What a command is to do: "red", "blue, blinks 0.5/0.5 s", "a setting". */
export function wantedWords(downlink: Pick<Downlink, 'color' | 'on_time' | 'off_time' | 'origin'>): string {
  if (!downlink.color) return downlink.origin === 'initialisation' ? 'a setting' : 'raw payload';
  return lightWords({ ...downlink.color, on_time: downlink.on_time ?? 255, off_time: downlink.off_time ?? 0 });
}

/** The label and tone of a device's or gateway's `status`. */
export function deviceWords(status: string): { label: string; tone: Tone } {
  switch (status) {
    case 'online':
      return { label: 'Online', tone: 'good' };
    case 'offline':
      return { label: 'Offline', tone: 'bad' };
    case 'never_seen':
      return { label: 'Never seen', tone: 'quiet' };
    default:
      return { label: capital(plain(status)), tone: 'quiet' };
  }
}

/** A reason in words; `{"gateway_refused": "TOO_LATE"}` carries what the word leaves out. */
export function reasonWords(reason: Reason): string {
  if (typeof reason === 'string') return REASONS[reason] ?? plain(reason);
  const [word, more] = Object.entries(reason)[0] ?? ['unknown', ''];
  return word === 'newer' ? reasonWords(word) : `${reasonWords(word)} (${String(more)})`;
}

/** Who asked for a command. */
function originWords(origin: string): string {
  if (origin === 'api') return 'an application or operator';
  if (origin === 'initialisation') return 'Downbeat itself, to set the light up';
  if (origin === 'job') return 'a job for many lights';
  return origin === 'reconcile' ? 'Downbeat itself, because the light showed something else' : plain(origin);
}

/** The rows of a command's story, oldest first. */
export function story(downlink: Downlink, gatewayName: GatewayName): StoryRow[] {
  let attempt = 0;
  return (downlink.timeline ?? []).map((entry, index) => {
    const begins = (entry.attempt ?? 0) > attempt;
    attempt = Math.max(attempt, entry.attempt ?? 0);
    // How it ended, other than by proof, is told by the state it ended in.
    const word = entry.step === 'ended' && typeof entry['state'] === 'string' ? entry['state'] : entry.step;
    const [title, tone] = STEPS[word] ?? [capital(plain(word)), 'going' as const];
    return {
      key: `${entry.at}|${entry.step}|${index}`,
      tone,
      after: after(downlink.created_at, entry.at),
      at: entry.at,
      title,
      details: stepDetails(entry, downlink, gatewayName),
      attempt: begins ? attempt : null,
    };
  });
}

/** The stations from accepted to proof, and how far the command is. */
export function stations(downlink: Downlink): Station[] {
  const timeline = downlink.timeline ?? [];
  const reachedAt = (step: string) => timeline.findLast((entry) => entry.step === step)?.at ?? null;
  const last = lastStation(downlink);
  const position = progress(downlink, timeline);
  const ended = stateWords(downlink.state);
  const over = downlink.state in STATES && ended.tone !== 'going' && ended.tone !== 'setback';
  return ['accepted', 'enqueued', 'transmitted', last].map((step, index) => {
    const isLast = index === 3;
    const name = isLast && over ? ended.label : (STATES[step]?.[0] ?? step);
    const at = isLast && over ? (downlink.finished_at ?? reachedAt(step)) : reachedAt(step);
    return {
      name,
      reached: isLast && over ? ending(ended.tone) : reached(index, position, over),
      after: at && (index <= position || (isLast && over)) ? after(downlink.created_at, at) : null,
    };
  });
}

/** What happens now, or how it ended, in one sentence. */
export function headline(downlink: Downlink): string {
  const why = downlink.reason ? `: ${reasonWords(downlink.reason)}` : '';
  const took = downlink.finished_at
    ? duration(Date.parse(downlink.finished_at) - Date.parse(downlink.created_at))
    : '';
  switch (downlink.state) {
    case 'accepted':
      return 'Stored; it is about to be sent.';
    case 'waiting':
      return `Waiting${why}.`;
    case 'enqueued':
      return 'In ChirpStack’s queue; a gateway has yet to send it.';
    case 'transmitted':
      return 'A gateway sent it; the light’s own report will prove it.';
    case 'verified':
      return `Proven after ${took}, ${attemptsWords(downlink.attempts)}${downlink.late ? ', later than expected' : ''}.`;
    case 'sent':
      return `Given to ChirpStack${took ? ` after ${took}` : ''}; no proof was asked for.`;
    case 'unverified':
      return `No proof after ${attemptsWords(downlink.attempts)}. A late report can still prove it.`;
    case 'superseded':
      return 'A newer command for this light took its place.';
    default:
      return `${stateWords(downlink.state).label}${why}.`;
  }
}

/** The proof in words: "counter 4 → 5 and colour reported by uplink fCnt 12 through gateway Roof". */
export function evidenceWords(evidence: Evidence, gatewayName: GatewayName): string {
  const { kind, baseline, downlinks_received: received, f_cnt_down: down, uplink: nested, ...others } = evidence;
  const uplink = (typeof nested === 'object' && nested !== null ? nested : evidence) as Record<string, unknown>;
  const { f_cnt: fCnt, gateway_id: gateway, rssi_dbm: rssi } = uplink;
  const through = typeof gateway === 'string' ? ` through gateway ${gatewayName(gateway)}` : '';
  const level = typeof rssi === 'number' ? ` at ${rssi} dBm`.replace('-', '−') : '';
  const by = `by ${fCnt === undefined ? 'an uplink' : `uplink fCnt ${String(fCnt)}`}${through}${level}`;
  const counter = `counter ${String(baseline ?? '?')} → ${String(received ?? '?')}`;
  switch (kind) {
    case 'counter_and_state':
      return `${counter} and colour reported ${by}`;
    case 'counter':
      return `${counter} reported ${by}`;
    case 'state_only':
      return `the new colour reported ${by}; weaker, as this report has no counter`;
    case 'lorawan_ack':
      return `acknowledged by the light (frame counter ${String(down ?? '?')})`;
    case 'transmitted':
      return `sent${through} (frame counter ${String(down ?? '?')}); of the light itself it says nothing`;
    default:
      return [plain(kind), ...fieldWords(others)].join(', ');
  }
}

function stepDetails(entry: TimelineEntry, downlink: Downlink, gatewayName: GatewayName): string[] {
  const evidence = entry.step === 'verified' ? ((entry['evidence'] as Evidence | null) ?? downlink.evidence) : null;
  const radio = [
    entry.gateway_id ? `by gateway ${gatewayName(entry.gateway_id)}` : '',
    isSet(entry['spreading_factor']) ? `SF${String(entry['spreading_factor'])}` : '',
    isSet(entry.f_cnt_down) ? `frame counter ${entry.f_cnt_down}` : '',
  ].filter(Boolean);
  const unknown = Object.fromEntries(Object.entries(entry).filter(([name]) => !TOLD.has(name)));
  const details = [
    entry.step === 'accepted' ? askedWords(downlink) : '',
    entry.reason ? reasonWords(entry.reason) : '',
    isSet(entry['reason_detail']) ? String(entry['reason_detail']) : '',
    entry.step === 'refused' && isSet(entry['status']) ? `its word: ${plain(String(entry['status']))}` : '',
    radio.join(', '),
    entry['presumed'] === true ? 'concluded from ChirpStack’s empty queue' : '',
    Number(entry['foreign_items']) > 0 ? `${String(entry['foreign_items'])} frames of others are in the queue` : '',
    entry.step === 'enqueued' ? queueWords(entry) : '',
    untilWords(entry, downlink),
    evidence ? evidenceWords(evidence, gatewayName) : '',
    entry['late'] === true ? 'later than expected, and proof all the same' : '',
    detailWords(entry.detail),
    fieldWords(unknown).join(', '),
  ];
  return details.filter(Boolean).map(capital);
}

function askedWords(downlink: Downlink): string {
  return `at ${clock(downlink.created_at)}${downlink.origin ? `, asked by ${originWords(downlink.origin)}` : ''}`;
}

function queueWords(entry: TimelineEntry): string {
  const item = entry.queue_id ? `queue item ${entry.queue_id.slice(0, 8)}` : '';
  return [entry.attempt ? `attempt ${entry.attempt}` : '', item].filter(Boolean).join(', ');
}

function untilWords(entry: TimelineEntry, downlink: Downlink): string {
  const { until } = entry;
  const time = new Date(typeof until === 'string' || typeof until === 'number' ? until : Number.NaN);
  if (Number.isNaN(time.valueOf())) return '';
  return `tried again at ${after(downlink.created_at, time.toISOString())} at the latest`;
}

function detailWords(detail: unknown): string {
  if (!isSet(detail)) return '';
  return typeof detail === 'object' && detail !== null ? fieldWords(detail).join(', ') : String(detail);
}

/** Fields nobody wrote words for: "rssi dbm -80". */
function fieldWords(fields: object): string[] {
  return Object.entries(fields)
    .filter(([, value]) => isSet(value) && typeof value !== 'object')
    .map(([name, value]) => `${plain(name)} ${String(value)}`);
}

function isSet(value: unknown): boolean {
  return value !== null && value !== undefined && value !== '';
}

function lastStation(downlink: Downlink): string {
  return downlink.state === 'sent' ? 'sent' : 'verified';
}

/** Index of the station reached last: a retry steps back to the queue. */
function progress(downlink: Downlink, timeline: TimelineEntry[]): number {
  const order = ['accepted', 'enqueued', 'transmitted', 'verified'];
  const now = order.indexOf(downlink.state);
  if (now >= 0) return now;
  if (downlink.state === 'waiting') return 0;
  const steps = timeline.map((entry) => order.indexOf(entry.step));
  return Math.min(2, Math.max(0, ...steps));
}

function ending(tone: Tone): Station['reached'] {
  if (tone === 'good') return 'done';
  return tone === 'quiet' ? 'dropped' : 'failed';
}

function reached(index: number, position: number, over: boolean): Station['reached'] {
  if (index <= position) return 'done';
  return index === position + 1 && !over ? 'current' : 'ahead';
}

function attemptsWords(attempts: number): string {
  return attempts === 1 ? 'at the first attempt' : `${attempts} attempts`;
}

function plain(word: string): string {
  return word.replaceAll('_', ' ').toLowerCase();
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
