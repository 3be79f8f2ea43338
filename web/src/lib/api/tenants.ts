/** Tenants, and the ChirpStack that each uses. */
import { request } from '../api';

/** What a tenant's devices have otherwise than the configuration. */
export interface Policy {
  attempts?: number;
  backoff_s?: number;
  ttl_s?: number;
  until_deadline?: boolean;
  window_s?: number;
  reconcile?: boolean;
  reconcile_pause_s?: number;
  refresh_after?: number;
  initialise?: boolean;
}

/** A tenant. */
export interface Tenant {
  id: string;
  name: string;
  chirpstack_tenant_id: string | null;
  /** null: as many as it likes. */
  devices_max: number | null;
  commands_per_minute: number | null;
  policy: Policy;
  device_count: number;
  /** Which ChirpStack it uses: `default`, the service's, or its `own`. */
  network_server: string;
  created_at: string;
  updated_at: string;
}

/** What is to be different; null clears. */
export type TenantPatch = Partial<
  Pick<Tenant, 'name' | 'chirpstack_tenant_id' | 'devices_max' | 'commands_per_minute' | 'policy'>
>;

/** A tenant's own ChirpStack, without its key. */
export interface NetworkServer {
  url: string;
  key_set: boolean;
  created_at: string;
  updated_at: string;
}

/** The service's ChirpStack, which all tenants use that have none of their own. */
export interface ServiceNetworkServer {
  /** null: none is configured. */
  url: string | null;
  key_set: boolean;
  /** `ok`, `unavailable`, `key_refused` or `not_configured`. */
  state: string;
}

/** What came of trying a ChirpStack. */
export interface TestedNetworkServer {
  ok: boolean;
  reachable: boolean;
  key_accepted: boolean | null;
  applications: { id: string; name: string }[] | null;
  message: string;
}

const path = (tenant: string) => `/tenants/${encodeURIComponent(tenant)}`;

/** All tenants, oldest first; for the platform's administrators. */
export async function list(): Promise<Tenant[]> {
  const all: Tenant[] = [];
  let cursor: string | null = null;
  do {
    const query: URLSearchParams = new URLSearchParams({ limit: '1000', ...(cursor ? { cursor } : {}) });
    const page: { tenants: Tenant[]; next_cursor: string | null } = await request('GET', `/tenants?${query}`);
    all.push(...page.tenants);
    cursor = page.next_cursor;
  } while (cursor);
  return all;
}

/** One tenant. */
export function get(tenant: string): Promise<Tenant> {
  return request('GET', path(tenant));
}

/** Makes a tenant. */
export function create(wish: TenantPatch & { name: string }): Promise<Tenant> {
  return request('POST', '/tenants', wish);
}

/** Changes a tenant. */
export function update(tenant: string, patch: TenantPatch): Promise<Tenant> {
  return request('PATCH', path(tenant), patch);
}

/** A tenant's own ChirpStack; null where it uses the service's. */
export async function networkServer(tenant: string): Promise<NetworkServer | null> {
  // Asked first, because a browser writes each 404 into its console.
  if ((await get(tenant)).network_server === 'default') return null;
  return request('GET', `${path(tenant)}/network-server`);
}

/** The service's ChirpStack; for the platform's administrators. */
export function serviceNetworkServer(): Promise<ServiceNetworkServer> {
  return request('GET', '/network-server');
}

/** Sets a tenant's own ChirpStack; without a key the one that is set stays. */
export function setNetworkServer(tenant: string, server: { url: string; api_key?: string }): Promise<NetworkServer> {
  return request('PUT', `${path(tenant)}/network-server`, server);
}

/** The tenant uses the service's ChirpStack from now on. */
export function removeNetworkServer(tenant: string): Promise<void> {
  return request('DELETE', `${path(tenant)}/network-server`);
}

/** Tries an address and a key; what is absent is taken from what is set. */
export function testNetworkServer(
  tenant: string,
  trial: { url?: string; api_key?: string },
): Promise<TestedNetworkServer> {
  return request('POST', `${path(tenant)}/network-server/test`, trial);
}
