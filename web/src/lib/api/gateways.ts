/** Gateways, how they get on with devices, and what they may still send. */
import { request } from '../api';

/** What was sent in a sub-band within the last hour, and what may be. */
export interface AirtimeBand {
  sub_band: string;
  used_ms: number;
  /** Granted and not yet known to have been sent. */
  reserved_ms: number;
  /** null: any. */
  budget_ms: number | null;
}

/** A position, WGS 84; metres above the ellipsoid. */
export interface Location {
  latitude: number;
  longitude: number;
  altitude: number;
}

/** Downlinks of a gateway within a day. */
export interface DownlinkCounts {
  taken: number;
  proven: number;
  unproven: number;
  refused: number;
}

/** A gateway with its figures; in the list, in its status and in `gateway` events. */
export interface GatewayInfo {
  gateway_id: string;
  name: string;
  /** `online`, `offline` or `never_seen`. */
  state: string;
  /** `default`, or the id of the tenant whose own it is. */
  network_server: string;
  alive: boolean;
  mute_since: string | null;
  /** What ChirpStack calls it; null if it is not listed there. */
  chirpstack_state: string | null;
  last_seen: string | null;
  location: Location | null;
  uplinks_heard: number;
  downlinks_taken: number;
  refusals: number;
  /** Percent of the downlinks to be proven in the last 24 hours that were; null if there was none. */
  success_rate: number | null;
  downlinks_24h: DownlinkCounts;
  airtime: AirtimeBand[];
  devices_heard: number;
  /** Oldest first. */
  history: GatewayChange[];
}

/** `came_online`, `went_offline`, `fell_mute` or `sends_again`. */
export interface GatewayChange {
  at: string;
  transition: string;
}

/** How a device and a gateway get on with each other. */
export interface LinkQuality {
  /** Of the last uplink, dBm. */
  rssi: number;
  /** dB. */
  snr: number;
  rssi_average: number;
  rssi_spread: number;
  snr_average: number;
  snr_spread: number;
  first_heard_at: string;
  last_heard_at: string;
  uplinks_heard: number;
  uplinks_missed: number;
  /** Percent. */
  uplink_loss: number;
  downlinks_taken: number;
  downlinks_proven: number;
  downlinks_unproven: number;
  /** Percent of those to be proven; null before there was one. */
  downlink_success_rate: number | null;
  unproven_in_a_row: number;
  /** `fine`, `lossy_uplink`, `downlink_dead` or `silent`. */
  diagnosis: string;
}

/** A device that a gateway heard. */
export interface HeardDevice extends LinkQuality {
  device_id: string;
  tenant_id: string;
  dev_eui: string;
  /** Whether this gateway heard its last uplink best: ChirpStack sends to the device through it. */
  is_best: boolean;
}

/** One gateway with its history and a page of the devices that it hears. */
export interface GatewayStatus extends GatewayInfo {
  last_taken: string | null;
  last_heard: { at: string; rssi_dbm: number; snr_db: number } | null;
  devices: HeardDevice[];
  next_cursor: string | null;
}

/** How gateways send to devices that always listen. */
export interface AirDownlink {
  frequency_hz: number;
  data_rate: string;
  /** What a colour takes on the air. */
  colour_ms: number;
  /** Whether gateways told so; otherwise the region's default. */
  learnt: boolean;
}

/** A gateway's account of a sub-band. */
export interface SubBand {
  name: string;
  from_hz: number;
  to_hz: number;
  budget_ms: number | null;
  used_ms: number;
  used_by_class_ms: Record<string, number>;
  reserved_ms: number;
  free_ms: number | null;
  /** The gateway said that it may not send, until then. */
  blocked_until: string | null;
}

/** A gateway's air. */
export interface GatewayAir {
  gateway_id: string;
  name: string;
  region: string;
  downlink: AirDownlink;
  colours_per_hour: number | null;
  paused_until: string | null;
  sub_bands: SubBand[];
  note: string | null;
}

/** What the gateways of a network server may still send. */
export interface Airtime {
  region: string;
  downlink: AirDownlink;
  ceilings_percent: Record<string, number>;
  waiting: Record<string, number>;
  held: number;
  note: string | null;
  gateways: GatewayAir[];
  checked_at: string;
}

/** All gateways that a tenant sees. */
export async function list(tenant: string): Promise<GatewayInfo[]> {
  const answer = await request<{ gateways: GatewayInfo[] }>('GET', `/gateways?tenant_id=${encodeURIComponent(tenant)}`);
  return answer.gateways;
}

/** One gateway with so many of the devices that it hears; `cursor` gives the next ones. */
export function status(tenant: string, id: string, limit: number, cursor?: string): Promise<GatewayStatus> {
  const query = new URLSearchParams({ tenant_id: tenant, limit: String(limit), ...(cursor ? { cursor } : {}) });
  return request('GET', `/gateways/${encodeURIComponent(id)}/status?${query}`);
}

/** Budgets of the gateways that a tenant sees, and what is used of them. */
export function airtime(tenant: string): Promise<Airtime> {
  return request('GET', `/airtime?tenant_id=${encodeURIComponent(tenant)}`);
}
