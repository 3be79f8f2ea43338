/** Devices that speak and that nobody has registered. */
import { request } from '../api';
import type { Device } from '../types';
import type { Page } from './jobs';

/** A device that nobody has registered, as it was last seen. */
export interface Unclaimed {
  lorawan_dev_eui: string;
  /** null if nothing tells whose it is. */
  tenant_id: string | null;
  /** ChirpStack's name of it; may be empty. */
  name: string;
  chirpstack_app_id: string | null;
  device_profile_id: string | null;
  /** dBm. */
  signal_strength: number | null;
  events: number;
  first_seen: string;
  last_seen: string;
}

/** What is to be different from what was seen; what is absent is taken from there. */
export interface Claim {
  name?: string;
  description?: string;
  tags?: Record<string, string>;
  codec?: string;
}

const path = (tenant: string) => `/tenants/${encodeURIComponent(tenant)}/unclaimed`;

/** A page of a tenant's, or with `null` of the platform's, newest first. */
export async function list(tenant: string | null, cursor?: string | null): Promise<Page<Unclaimed>> {
  const query = new URLSearchParams({ limit: '100', ...(cursor ? { cursor } : {}) });
  const answer = await request<{ unclaimed: Unclaimed[]; next_cursor: string | null }>(
    'GET',
    `${tenant === null ? '/unclaimed' : path(tenant)}?${query}`,
  );
  return { items: answer.unclaimed, next: answer.next_cursor };
}

/** Registers one. */
export function claim(tenant: string, devEui: string, claimed: Claim): Promise<Device> {
  return request('POST', `${path(tenant)}/${encodeURIComponent(devEui)}/claim`, claimed);
}

/** Takes one off the list, until it speaks again. */
export function dismiss(tenant: string, devEui: string): Promise<void> {
  return request('DELETE', `${path(tenant)}/${encodeURIComponent(devEui)}`);
}
