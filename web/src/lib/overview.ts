/** What the overview is made of, as the API tells it. */

/** One open problem. */
export interface Problem {
  /** `gateway_silent`, `rx2_slow`, `drift` and so on. */
  kind: string;
  /** `error`: commands do not arrive; `warning`: some do not, or late; `info`: something is to be decided. */
  severity: string;
  title: string;
  /** What is known of it. */
  detail: string;
  /** What to do. */
  advice: string;
  since: string | null;
  gateway_id: string | null;
  /** Where the page shows more of it. */
  page: string | null;
}

/** `GET /tenants/{tenant_id}/overview`. */
export interface Overview {
  devices: { total: number; online: number; offline: number; never_seen: number; converged: number; not_converged: number };
  commands: { under_way: number; waiting: number; waiting_by_reason: Record<string, number> };
}

/** `GET /airtime`, as far as problems are made of it. */
export interface Airtime {
  note: string | null;
  downlink: { data_rate: string; colour_ms: number };
  gateways: AirtimeOfGateway[];
}

/** The air of one gateway. */
export interface AirtimeOfGateway {
  gateway_id: string;
  name: string;
  colours_per_hour: number | null;
  paused_until: string | null;
  sub_bands: {
    name: string;
    budget_ms: number | null;
    used_ms: number;
    reserved_ms: number;
    free_ms: number | null;
    blocked_until: string | null;
  }[];
}
