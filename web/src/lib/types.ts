/**
 * What the API sends, as far as this page reads it.
 *
 * Words that may grow on the server (steps, reasons, kinds of evidence) are plain strings here, so that a newer server
 * still shows readably on an older page.
 */

/** Red, green and blue, each 0 to 255. */
export interface Rgb {
  red: number;
  green: number;
  blue: number;
}

/** What a light shows; times in units of 0.1 s, `off_time` 0 is steady. */
export interface LightState extends Rgb {
  on_time: number;
  off_time: number;
}

/** What a light said about itself, and when. */
export interface ReportedState extends LightState {
  at?: string | null;
}

/** One light. */
export interface Device {
  id: string;
  name: string;
  /** 16 hexadecimal digits; null for a device that is not on LoRaWAN. */
  lorawan_dev_eui: string | null;
  /** `online`, `offline` or `never_seen`. */
  status: string;
  last_seen: string | null;
  /** Best RSSI of the last uplink, dBm. */
  signal_strength: number | null;
  /** dB. */
  snr: number | null;
  /** Percent. */
  battery_level: number | null;
  desired: LightState | null;
  reported: ReportedState | null;
  /** Whether ChirpStack holds it as the registry says; false for one that is not kept in step. */
  chirpstack_synced: boolean;
  /** Null for a device that is not kept in step with ChirpStack. */
  sync?: SyncState | null;
  /** Labels; events may leave them out. */
  tags?: Record<string, string>;
}

/** How far ChirpStack is in step with a device. */
export interface SyncState {
  /** `pending`, `synced`, `failing`, `conflict` or `rejected`. */
  state: string;
  error: string | null;
  attempts: number;
  next_attempt_at: string | null;
}

/** A live `sync` event. */
export interface SyncEvent extends SyncState {
  /** The device's id. */
  id: string;
  lorawan_dev_eui: string;
  chirpstack_synced: boolean;
}

/** How many of a job's devices are where. */
export interface JobCounts {
  total: number;
  waiting: number;
  /** Of those under way: no gateway hears them, or they have to speak first. */
  out_of_reach: number;
  under_way: number;
  verified: number;
  sent: number;
  unverified: number;
  failed: number;
  superseded: number;
  cancelled: number;
  expired: number;
  skipped: number;
}

/** A live `job` event, once a second at the most. */
export interface JobEvent {
  id: string;
  /** `color`, `payload` or `initialize`. */
  kind: string;
  name: string;
  /** `running`, `paused`, `cancelled` or `done`. */
  state: string;
  counts: JobCounts;
  /** Percent of the devices that are told. */
  progress: number;
  remaining_s: number | null;
  eta: string | null;
  updated_at: string;
  finished_at: string | null;
}

/** A live `queue` event: a device's queue in ChirpStack does not move, or was flushed. */
export interface QueueEvent {
  /** `stuck` or `flushed`. */
  state: string;
  /** The device's id. */
  id: string;
  lorawan_dev_eui: string;
  items: number;
}

/** A live `registry` event: a device was registered, changed or deleted, by whomever. */
export interface RegistryEvent {
  change: 'created' | 'changed' | 'deleted';
  /** The device's id. */
  id: string;
  /** Null if it is not on LoRaWAN. */
  lorawan_dev_eui: string | null;
}

/** A live `device` event: the address, and whatever changed. */
export type DevicePatch = Partial<Device> & { lorawan_dev_eui: string };

/** Why something waits or failed: a word, or a word with what it leaves out. */
export type Reason = string | Record<string, unknown>;

/** One row of a command's story. */
export interface TimelineEntry {
  /** Number of the step, from 0. */
  seq?: number;
  at: string;
  step: string;
  /** From 1; 0 before the first. */
  attempt?: number | null;
  reason?: Reason | null;
  queue_id?: string | null;
  gateway_id?: string | null;
  f_cnt_down?: number | null;
  detail?: unknown;
  [field: string]: unknown;
}

/** What proves a command; the fields beside `kind` depend on it. */
export interface Evidence {
  kind: string;
  [field: string]: unknown;
}

/** One command to one light. */
export interface Downlink {
  id: string;
  dev_eui: string;
  /** `success`, `unverified`, `sent`, `failed`, `error` or `pending`. */
  status: string;
  /** `accepted`, `waiting`, `enqueued`, `transmitted`, or a terminal state. */
  state: string;
  verified: boolean | null;
  late?: boolean;
  attempts: number;
  queue_id?: string | null;
  color: Rgb | null;
  on_time?: number | null;
  off_time?: number | null;
  origin?: string | null;
  reason?: Reason | null;
  created_at: string;
  updated_at?: string | null;
  finished_at?: string | null;
  evidence?: Evidence | null;
  timeline?: TimelineEntry[];
}

/** A live `downlink` event: the command without its timeline, and the newest step of it. */
export type DownlinkEvent = Omit<Downlink, 'timeline'> & { step?: TimelineEntry | null };

/** One gateway. */
export interface Gateway {
  gateway_id: string;
  name: string;
  /** `online`, `offline` or `never_seen`. */
  state: string;
  /** Since when it takes no downlinks though it should and others do. */
  mute_since?: string | null;
  last_seen: string | null;
}

/** Who is signed in. */
export interface Session {
  /** `admin`, `operator` or `viewer`. */
  role: string;
  tenant: { id: string; name: string };
  /** Whether the key is the platform's, and sees all tenants. */
  platform?: boolean;
  /** Whether the lights and gateways are simulated, and can be switched and restarted from here. */
  simulator: boolean;
}

/** How the simulated world is set. */
export interface Simulator {
  gateways?: { gateway_id: string; online: boolean }[];
  /** Shares of frames lost, 0 to 1. */
  links?: { loss_up: number; loss_down: number };
}

/** What to send to a light. */
export interface ColourCommand extends LightState {
  wait_for_verification: boolean;
}
