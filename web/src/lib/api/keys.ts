/** API keys. */
import { request } from '../api';

/** What a key may do. */
export type Role = 'admin' | 'operator' | 'viewer' | 'webhook';

/** A key, without the key. */
export interface ApiKey {
  id: string;
  /** null: the platform's. */
  tenant_id: string | null;
  role: Role;
  name: string;
  /** Its first characters. */
  prefix: string;
  requests_per_minute: number | null;
  created_at: string;
  expires_at: string | null;
  revoked_at: string | null;
  last_used_at: string | null;
}

/** A new key; this answer alone has the key itself. */
export interface NewApiKey extends ApiKey {
  key: string;
}

/** A key to be. */
export interface KeyWish {
  role: Role;
  name: string;
  expires_at?: string;
}

/** A tenant's keys, or with `null` every key there is, oldest first, those that work no more too. */
export async function list(tenant: string | null): Promise<ApiKey[]> {
  const all: ApiKey[] = [];
  let cursor: string | null = null;
  do {
    const query: URLSearchParams = new URLSearchParams({ limit: '1000', ...(cursor ? { cursor } : {}) });
    const page: { keys: ApiKey[]; next_cursor: string | null } = await request('GET', `${path(tenant)}?${query}`);
    all.push(...page.keys);
    cursor = page.next_cursor;
  } while (cursor);
  return all;
}

/** Makes a key for a tenant, or with `null` for the platform. */
export function create(tenant: string | null, wish: KeyWish): Promise<NewApiKey> {
  return request('POST', path(tenant), wish);
}

/** Takes a key back: it stops working at once. */
export function revoke(tenant: string | null, id: string): Promise<void> {
  return request('DELETE', `${path(tenant)}/${encodeURIComponent(id)}`);
}

function path(tenant: string | null): string {
  return tenant === null ? '/keys' : `/tenants/${encodeURIComponent(tenant)}/keys`;
}
