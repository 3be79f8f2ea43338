/** One colour to many devices: what it would cost, and how far it is. */
import { request } from './api';
import { lightWords } from './colour-names';
import { brief } from './time';
import type { JobEvent, LightState } from './types';

/** `POST …/jobs?dry_run=true`. */
export interface JobEstimate {
  /** Devices that would be told. */
  devices: number;
  airtime_s: number;
  /** Seconds until the last one in reach has answered. */
  duration_s: number;
  eta: string;
  /** Devices of class A, which answer whenever they speak; they do not count in the duration. */
  class_a: number;
  /** Devices that no gateway reaches at the moment. */
  without_gateway: number;
  left_out: { reason: string; devices: number; examples: string[] }[];
}

const LEFT_OUT: Record<string, string> = {
  unknown_device: 'not registered',
  no_dev_eui: 'without a DevEUI',
  not_synced: 'not in ChirpStack yet',
  never_heard: 'never heard, so no gateway is known to reach them',
  not_understood: 'of a kind that has no colour',
};

/** What it would cost to show a light on devices. */
export function estimate(tenant: string, devEuis: readonly string[], light: LightState, signal: AbortSignal): Promise<JobEstimate> {
  return request('POST', `/tenants/${tenant}/jobs?dry_run=true`, order(devEuis, light), { signal });
}

/** Shows a light on devices, as a job. */
export function begin(tenant: string, devEuis: readonly string[], light: LightState): Promise<JobEvent> {
  const name = `${lightWords(light)} to ${devEuis.length.toLocaleString()} lights`;
  return request('POST', `/tenants/${tenant}/jobs`, { ...order(devEuis, light), name: name.charAt(0).toUpperCase() + name.slice(1) });
}

/** "62 s of airtime · done in about 2 min · 3 left out: never heard, …". */
export function estimateWords(estimate: JobEstimate): string {
  const left = estimate.left_out.map(({ reason, devices }) => `${devices} ${LEFT_OUT[reason] ?? reason.replaceAll('_', ' ')}`);
  return [
    `${estimate.airtime_s < 10 ? estimate.airtime_s.toFixed(1) : Math.round(estimate.airtime_s)} s of airtime`,
    `done in about ${brief(Math.max(1, estimate.duration_s))}`,
    estimate.without_gateway > 0 ? `${estimate.without_gateway} out of reach at the moment` : '',
    estimate.class_a > 0 ? `${estimate.class_a} hear it only when they speak themselves (class A)` : '',
    left.length > 0 ? `left out: ${left.join('; ')}` : '',
  ]
    .filter(Boolean)
    .join(' · ');
}

/** "40 verified, 3 under way, 2 failed" of a job, what there is none of left out. */
export function progressWords({ counts }: Pick<JobEvent, 'counts'>): string {
  const words: [number, string][] = [
    [counts.verified, 'verified'],
    [counts.sent, 'sent'],
    [counts.under_way, 'under way'],
    [counts.waiting, 'waiting'],
    [counts.out_of_reach, 'of these out of reach'],
    [counts.unverified, 'unverified'],
    [counts.failed, 'failed'],
    [counts.expired, 'expired'],
    [counts.superseded, 'superseded'],
    [counts.cancelled, 'cancelled'],
    [counts.skipped, 'left out'],
  ];
  const told = words.filter(([count]) => count > 0).map(([count, word]) => `${count.toLocaleString()} ${word}`);
  return told.join(', ') || 'nothing yet';
}

function order(devEuis: readonly string[], light: LightState): object {
  return { kind: 'color', devices: devEuis, ...light };
}
