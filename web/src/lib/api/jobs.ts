/** Commands to many devices. */
import { request } from '../api';
import type { JobEvent, Rgb } from '../types';

export type { JobCounts } from '../types';

/** What a job costs at one attempt each; times in seconds. */
export interface JobPlan {
  /** Devices that are told. */
  devices: number;
  /** Those of them that listen only after they spoke. */
  class_a: number;
  /** Those of which it is not known who hears them. */
  without_gateway: number;
  airtime_s: number;
  duration_s: number;
  /** `answers` or `duty_cycle`; null where the pause between devices decides. */
  bottleneck: { kind: string; gateway_id: string; sub_band: string | null } | null;
  gateways: { gateway_id: string; devices: number; airtime_s: number }[];
  left_out: { reason: string; devices: number; examples?: string[] }[];
}

/** What a job would cost, and when it would be over. */
export interface JobEstimate extends JobPlan {
  eta: string;
}

/** One command to many devices. */
export interface Job extends JobEvent {
  tenant_id: string;
  color: Rgb | null;
  on_time: number | null;
  off_time: number | null;
  payload: string | null;
  f_port: number | null;
  confirmed: boolean;
  wait_for_verification: boolean;
  transient: boolean;
  attempts: number | null;
  ttl_s: number | null;
  force: boolean;
  stagger_s: number;
  retry_of: string | null;
  created_by: string;
  running_s: number;
  airtime_used_s: number;
  plan: JobPlan;
  created_at: string;
}

/** What became of a device of a job. */
export interface JobDevice {
  device_id: string | null;
  dev_eui: string | null;
  state: string;
  /** Why it waits, or ended so. */
  reason: string | null;
  attempts: number;
  downlink_id: string | null;
  downlink_state: string | null;
  started_at: string | null;
  finished_at: string | null;
}

/** A page of something, and where the next begins. */
export interface Page<T> {
  items: T[];
  next: string | null;
}

/** What holds a job up, lets it go on, or takes it back. */
export type Steering = 'pause' | 'resume' | 'cancel';

/** Which jobs. */
export interface JobFilter {
  state?: string;
  kind?: string;
}

const path = (tenant: string) => `/tenants/${encodeURIComponent(tenant)}/jobs`;

/** A page of a tenant's jobs, newest first. */
export async function list(tenant: string, filter: JobFilter = {}, cursor?: string | null): Promise<Page<Job>> {
  const query = new URLSearchParams({ limit: '50' });
  for (const [name, value] of Object.entries({ ...filter, cursor })) if (value) query.set(name, value);
  const answer = await request<{ jobs: Job[]; next_cursor: string | null }>('GET', `${path(tenant)}?${query}`);
  return { items: answer.jobs, next: answer.next_cursor };
}

/** One job. */
export function get(tenant: string, id: string): Promise<Job> {
  return request('GET', `${path(tenant)}/${encodeURIComponent(id)}`);
}

/** A page of a job's devices in these states (all if none), in the order in which they are told. */
export async function devices(
  tenant: string,
  id: string,
  states: readonly string[],
  limit: number,
  cursor?: string | null,
): Promise<Page<JobDevice>> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (states.length) query.set('state', states.join(','));
  if (cursor) query.set('cursor', cursor);
  const answer = await request<{ devices: JobDevice[]; next_cursor: string | null }>(
    'GET',
    `${path(tenant)}/${encodeURIComponent(id)}/devices?${query}`,
  );
  return { items: answer.devices, next: answer.next_cursor };
}

/** Pauses, resumes or cancels a job. */
export function steer(tenant: string, id: string, steering: Steering): Promise<Job> {
  return request('POST', `${path(tenant)}/${encodeURIComponent(id)}/${steering}`);
}

/** Tries again what failed, as a new job. */
export function retry(tenant: string, id: string): Promise<Job> {
  return request('POST', `${path(tenant)}/${encodeURIComponent(id)}/retry`);
}

/** What the initialisation of all devices would cost; nothing is sent. */
export function estimateInitialise(tenant: string, force: boolean): Promise<JobEstimate> {
  return request('POST', `${path(tenant)}?dry_run=true`, { kind: 'initialize', filter: {}, force });
}

/** Gives all devices the settings that they need after a join. */
export function initialise(tenant: string, force: boolean): Promise<Job> {
  return request('POST', path(tenant), { kind: 'initialize', filter: {}, force });
}
