/** The audit log: who changed what, when and from where. */
import { request } from '../api';
import type { Page } from './jobs';

/** An entry. */
export interface AuditEntry {
  id: string;
  at: string;
  /** null: the platform's. */
  tenant_id: string | null;
  /** `tenant.create`, `device.update`, `downlink.send` and so on. */
  action: string;
  object_id: string;
  key_id: string | null;
  /** The key's name, `command line`, `downbeat`, or `local ticket`. */
  name: string;
  address: string | null;
  request_id: string | null;
  before: unknown;
  after: unknown;
}

/** Which entries; times RFC 3339. */
export interface AuditFilter {
  /** `device.create`, or all of a kind: `device`. */
  action?: string;
  object_id?: string;
  key_id?: string;
  from?: string;
  to?: string;
}

/** A page of a tenant's log, or with `null` of everybody's, newest first. */
export async function list(
  tenant: string | null,
  filter: AuditFilter,
  cursor?: string | null,
): Promise<Page<AuditEntry>> {
  const answer = await request<{ entries: AuditEntry[]; next_cursor: string | null }>(
    'GET',
    `${path(tenant)}?${query(filter, { limit: '50', ...(cursor ? { cursor } : {}) })}`,
  );
  return { items: answer.entries, next: answer.next_cursor };
}

/** Where all entries of a filter are to be had as a file. */
export function exportUrl(tenant: string | null, filter: AuditFilter, format: 'csv' | 'ndjson'): string {
  return `/api/v1${path(tenant)}?${query(filter, { format })}`;
}

function path(tenant: string | null): string {
  return tenant === null ? '/audit' : `/tenants/${encodeURIComponent(tenant)}/audit`;
}

function query(filter: AuditFilter, more: Record<string, string>): URLSearchParams {
  const set = Object.entries(filter).filter((entry): entry is [string, string] => Boolean(entry[1]));
  return new URLSearchParams([...set, ...Object.entries(more)]);
}
