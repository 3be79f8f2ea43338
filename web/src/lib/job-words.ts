/** A job in words: what it does, how far it is, why something of it failed, and what to do about it. */
import type { Job, JobCounts, JobDevice, JobPlan } from './api/jobs';
import { span } from './span';
import { reasonWords, stateWords, type Tone } from './words';

/** A part of a job's devices, in the order in which a bar shows them. */
export interface JobPart {
  /** One of the states of a job's device. */
  state: ItemState;
  label: string;
  tone: Tone;
  count: number;
  /** Of all devices, 0 to 1. */
  share: number;
}

/** Where one device of a job is. */
export type ItemState = Exclude<keyof JobCounts, 'total' | 'out_of_reach'>;

/** Devices that ended for the same reason. */
export interface ReasonGroup {
  state: string;
  reason: string;
  /** What happened, as a sentence. */
  words: string;
  /** What to do next. */
  advice: string;
  devices: JobDevice[];
}

const ITEMS: Record<ItemState, [label: string, tone: Tone]> = {
  verified: ['Verified', 'good'],
  sent: ['Sent', 'good'],
  under_way: ['Under way', 'going'],
  waiting: ['Waiting for their turn', 'quiet'],
  unverified: ['Unverified', 'bad'],
  failed: ['Failed', 'bad'],
  expired: ['Expired', 'bad'],
  superseded: ['Superseded', 'quiet'],
  cancelled: ['Cancelled', 'quiet'],
  skipped: ['Left out', 'quiet'],
};

const JOBS: Record<string, [label: string, tone: Tone]> = {
  running: ['Running', 'going'],
  paused: ['Paused', 'setback'],
  cancelled: ['Cancelled', 'quiet'],
  done: ['Done', 'good'],
};

const KINDS: Record<string, string> = {
  color: 'Colour',
  payload: 'Raw payload',
  initialize: 'Initialisation',
};

const LEFT_OUT: Record<string, [words: string, advice: string]> = {
  unknown_device: ['no device with that id or DevEUI is registered', 'Check the list of devices that was given.'],
  no_dev_eui: ['it has no DevEUI', 'Give it its DevEUI on its page.'],
  not_synced: ['ChirpStack is not in step with it', 'See its page for what is in the way, and re-sync it.'],
  never_heard: ['it never spoke, so no gateway is known that reaches it', 'Is it switched on and joined?'],
  not_understood: ['its codec does not understand this command', 'Check which codec it has.'],
};

const ADVICE: Record<string, string> = {
  not_confirmed: 'Frames went out and the lights did not report it. Look at the links of these devices, then retry.',
  lost_on_air: 'Look at the links of these devices: another gateway or a slower data rate may be needed.',
  no_gateway: 'Bring a gateway back that hears them, then retry.',
  gateway_refused: 'The gateway’s page tells whether its airtime or its timing is the reason.',
  not_transmitted: 'Look at the gateways that hear them, then retry.',
  payload_too_large: 'The data rate in RX2 is too slow for this payload: shorten it, or raise rx2_dr.',
  not_synced: 'See the devices’ pages for what is in the way, and re-sync them.',
  unknown_device: 'ChirpStack has lost these devices: see the drift page.',
  before_first_uplink: 'They joined and have not spoken yet. Retry once they have.',
  key_refused: 'Set another ChirpStack API key in the settings.',
  server_unavailable: 'ChirpStack did not answer: test the connection in the settings.',
  newer: 'Nothing to do: somebody wanted something newer.',
  newer_command: 'Nothing to do: somebody wanted something newer.',
  device_removed: 'Nothing to do: the devices are no longer registered.',
};

/** States in which a device of a job is tried again by a retry. */
export const RETRIED: readonly ItemState[] = ['failed', 'unverified', 'expired'];

/** A device's state within a job: label and tone. */
export function itemWords(state: string): { label: string; tone: Tone } {
  const known = ITEMS[state as ItemState];
  return known ? { label: known[0], tone: known[1] } : stateWords(state);
}

/** A job's state: label and tone. A cancelled one that is not over yet is still stopping; one with failures is not all good. */
export function jobStateWords(job: Pick<Job, 'state' | 'finished_at' | 'counts'>): { label: string; tone: Tone } {
  if (job.state === 'cancelled' && !job.finished_at) return { label: 'Stopping', tone: 'setback' };
  if (job.state === 'done' && failures(job.counts) > 0) return { label: 'Done, with failures', tone: 'bad' };
  const [label, tone] = JOBS[job.state] ?? [job.state.replaceAll('_', ' '), 'quiet' as const];
  return { label, tone };
}

/** What kind of job it is. */
export function kindWords(kind: string): string {
  return KINDS[kind] ?? kind.replaceAll('_', ' ');
}

/** The parts that a job's devices fall into, without empty ones. */
export function parts(counts: JobCounts): JobPart[] {
  return (Object.keys(ITEMS) as ItemState[])
    .map((state) => ({ ...itemWords(state), state, count: counts[state], share: counts[state] / Math.max(1, counts.total) }))
    .filter(({ count }) => count > 0);
}

/** Devices that a retry would tell again. */
export function failures(counts: JobCounts): number {
  return RETRIED.reduce((sum, state) => sum + counts[state], 0);
}

/** How far it is and how long it takes, in one sentence. */
export function progressWords(job: Pick<Job, 'state' | 'remaining_s' | 'finished_at' | 'counts'>): string {
  const { counts } = job;
  const told = counts.total - counts.skipped;
  const ended = told - counts.waiting - counts.under_way;
  const far = `${ended} of ${told} done`;
  if (job.finished_at) return endWords(counts, told);
  if (job.state === 'paused') return `Paused: ${far}`;
  if (job.state === 'cancelled') return `Stopping: ${counts.under_way} still under way`;
  if (counts.out_of_reach > 0 && counts.out_of_reach === counts.under_way && counts.waiting === 0) {
    return `${far}; ${counts.out_of_reach} out of reach, told as soon as a gateway hears them`;
  }
  return job.remaining_s === null ? far : `${far}, about ${span(job.remaining_s)} left`;
}

function endWords(counts: JobCounts, told: number): string {
  const failed = failures(counts);
  if (failed > 0) return `${failed} of ${told} did not get it`;
  const others = [
    counts.superseded > 0 ? `, ${counts.superseded} superseded` : '',
    counts.cancelled > 0 ? `, ${counts.cancelled} cancelled` : '',
  ];
  return `${counts.verified + counts.sent} of ${told} told${others.join('')}`;
}

/** What the plan says is the bottleneck. */
export function bottleneckWords(plan: JobPlan, gatewayName: (id: string) => string): string {
  const { bottleneck } = plan;
  if (!bottleneck) return 'The pause between devices decides how long it takes.';
  const gateway = gatewayName(bottleneck.gateway_id);
  return bottleneck.kind === 'duty_cycle'
    ? `Gateway ${gateway} decides how long it takes: its budget in ${bottleneck.sub_band ?? 'its sub-band'} is short.`
    : `Gateway ${gateway} decides how long it takes: the air must stay free for the devices’ answers.`;
}

/** Why a device was left out. */
export function leftOutWords(reason: string): { words: string; advice: string } {
  const [words, advice] = LEFT_OUT[reason] ?? [reasonWords(reason), ''];
  return { words, advice };
}

/** Devices by why they ended as they did, the largest group first. */
export function byReason(devices: readonly JobDevice[]): ReasonGroup[] {
  const groups = new Map<string, ReasonGroup>();
  for (const device of devices) {
    const reason = device.reason ?? '';
    const key = `${device.state} ${reason}`;
    const group = groups.get(key) ?? { state: device.state, reason, ...why(device.state, reason), devices: [] };
    group.devices.push(device);
    groups.set(key, group);
  }
  return [...groups.values()].sort((a, b) => b.devices.length - a.devices.length);
}

/** Why a device waits or ended so, as a sentence; empty if nothing is said of it. */
export function deviceReason(device: Pick<JobDevice, 'state' | 'reason'>): string {
  return device.reason ? why(device.state, device.reason).words : '';
}

function why(state: string, reason: string): { words: string; advice: string } {
  if (state === 'skipped') {
    const { words, advice } = leftOutWords(reason);
    return { words: capital(words), advice };
  }
  const words = reason ? capital(reasonWords(reason)) : `${itemWords(state).label}, without a reason given`;
  return { words, advice: ADVICE[reason] ?? (RETRIED.includes(state as ItemState) ? 'Open a device for its story, then retry.' : '') };
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
