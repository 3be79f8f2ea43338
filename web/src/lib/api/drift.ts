/** Where ChirpStack and the registry differ, and queues in ChirpStack that do not move. */
import { request } from '../api';
import type { Page } from './jobs';

/** A field in which they differ; null: not set there. */
export interface Difference {
  field: string;
  registry: string | null;
  chirpstack: string | null;
}

/** A device in which they differ. */
export interface Drift {
  dev_eui: string;
  device_id: string | null;
  /** `missing_in_chirpstack`, `missing_in_registry` or `differs`. */
  kind: string;
  chirpstack_name: string | null;
  application_id: string | null;
  device_profile_id: string | null;
  differences: Difference[];
  found_at: string;
  ignored: boolean;
}

/** A page of what the last comparison found. */
export interface DriftPage extends Page<Drift> {
  /** null if there was no comparison yet. */
  checkedAt: string | null;
  /** Whether one is under way. */
  checking: boolean;
  /** Seconds between comparisons. */
  intervalS: number;
}

/** What to do: the registry takes ChirpStack's word, ChirpStack the registry's, it stays, or it is looked at again. */
export type Resolution = 'adopt' | 'push' | 'ignore' | 'unignore';

/** What became of the devices; those that failed first. */
export interface Resolved {
  done: number;
  failed: number;
  results: { dev_eui: string; done: boolean; device_id?: string; error?: string }[];
}

/** A device's queue in ChirpStack that does not move, because no gateway that hears the device is online. */
export interface QueueFinding {
  device_id: string;
  dev_eui: string;
  since: string;
  looked_at: string;
  first_queue_id: string;
  items: number;
  /** Of these, items that Downbeat did not put there. */
  foreign_items: number;
  /** Whether the first one was transmitted and waits for its acknowledgement. */
  is_pending: boolean;
}

const path = (tenant: string) => `/tenants/${encodeURIComponent(tenant)}`;

/** A page of what the last comparison found, by DevEUI. */
export async function list(tenant: string, cursor?: string | null): Promise<DriftPage> {
  const query = new URLSearchParams({ limit: '200', ...(cursor ? { cursor } : {}) });
  const answer = await request<{
    checked_at: string | null;
    checking: boolean;
    interval_s: number;
    items: Drift[];
    next_cursor: string | null;
  }>('GET', `${path(tenant)}/drift?${query}`);
  return {
    items: answer.items,
    next: answer.next_cursor,
    checkedAt: answer.checked_at,
    checking: answer.checking,
    intervalS: answer.interval_s,
  };
}

/** Begins a comparison; `checked_at` of the list tells when it is done. */
export function check(tenant: string): Promise<void> {
  return request('POST', `${path(tenant)}/drift/check`);
}

/** Decides about these devices, or about all. */
export function resolve(tenant: string, action: Resolution, devEuis: readonly string[] | 'all'): Promise<Resolved> {
  const whom = devEuis === 'all' ? { all: true } : { dev_euis: devEuis };
  return request('POST', `${path(tenant)}/drift/resolve`, { action, ...whom });
}

/** Deletes all that stands in a device's queue in ChirpStack; answers how much that was. */
export function flushQueue(devEui: string): Promise<{ items: number }> {
  return request('POST', `/devices/${encodeURIComponent(devEui)}/flush-queue`);
}

/** Queues that do not move, by DevEUI. */
export async function queueFindings(tenant: string): Promise<QueueFinding[]> {
  return (await request<{ findings: QueueFinding[] }>('GET', `${path(tenant)}/queue-findings`)).findings;
}
