/** The API, as far as this page uses it. Signed in by an HttpOnly cookie, which no script can read. */
import type { ColourCommand, Device, Downlink, Gateway, Session, Simulator } from './types';

const SESSION = '/session';

/** Commands and lists end by themselves after this long, so that a dead connection shows as an error. */
const TIMEOUT_MS = 20_000;

/** Pages of lights fetched at most, so that an answer that never ends does not fill the memory. */
const DEVICE_PAGES_MAX = 100;

/** What is wrong with a field. */
export interface FieldError {
  field: string;
  message: string;
}

/** Why a request had no success, in words to show. */
export class ApiError extends Error {
  /** The HTTP status; 0 if there was no answer. */
  readonly status: number;
  /** The problem's stable `type`, such as `urn:downbeat:problem:not-found`; empty if there was none. */
  readonly type: string;
  /** What is wrong with which field of what was sent. */
  readonly fields: readonly FieldError[];

  constructor(status: number, message: string, type = '', fields: readonly FieldError[] = []) {
    super(message);
    this.status = status;
    this.type = type;
    this.fields = fields;
  }

  /** What is wrong with one field. */
  of(field: string): string | undefined {
    return this.fields.find((error) => error.field === field)?.message;
  }
}

/** Who is signed in; null if nobody is. */
export async function session(): Promise<Session | null> {
  try {
    return await request<Session>('GET', SESSION);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return null;
    throw error;
  }
}

/** Signs in by an API key, or by the one-time ticket in the address that `downbeat demo` opens. */
export function signIn(proof: { key: string } | { ticket: string }): Promise<void> {
  return request('POST', SESSION, proof);
}

/** Ends the session. */
export function signOut(): Promise<void> {
  return request('DELETE', SESSION);
}

/** All lights of the tenant, page by page. */
export async function* devicePages(tenant: string): AsyncGenerator<Device[]> {
  let cursor: string | null = null;
  for (let page = 0; page < DEVICE_PAGES_MAX; page += 1) {
    const query: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
    const answer: { devices: Device[]; next_cursor?: string | null } = await request(
      'GET',
      `/tenants/${encodeURIComponent(tenant)}/devices?limit=1000${query}`,
    );
    yield answer.devices;
    cursor = answer.next_cursor ?? null;
    if (!cursor) return;
  }
}

/** One light. */
export function device(tenant: string, id: string): Promise<Device> {
  return request('GET', `/tenants/${encodeURIComponent(tenant)}/devices/${encodeURIComponent(id)}`);
}

/** The newest commands. */
export async function downlinks(tenant: string): Promise<Downlink[]> {
  const query = `tenant_id=${encodeURIComponent(tenant)}&limit=50`;
  return (await request<{ downlinks: Downlink[] }>('GET', `/downlinks?${query}`)).downlinks;
}

/** One command with its timeline. */
export function downlink(id: string): Promise<Downlink> {
  return request('GET', `/downlinks/${encodeURIComponent(id)}`);
}

/** All gateways. */
export async function gateways(tenant: string): Promise<Gateway[]> {
  const query = `tenant_id=${encodeURIComponent(tenant)}`;
  return (await request<{ gateways: Gateway[] }>('GET', `/gateways?${query}`)).gateways;
}

/** Sends a colour to a light; answers at once with the accepted command. */
export function sendColour(devEui: string, command: ColourCommand): Promise<Downlink> {
  return request('POST', `/downlink/${encodeURIComponent(devEui)}?wait=0`, command);
}

/** Cancels a command that has not ended. */
export function cancel(id: string): Promise<Downlink | undefined> {
  return request('POST', `/downlinks/${encodeURIComponent(id)}/cancel`);
}

/** How the simulated world is set. */
export function simulator(): Promise<Simulator> {
  return request('GET', '/simulator');
}

/** Switches a simulated gateway on or off. */
export function switchGateway(gatewayId: string, online: boolean): Promise<void> {
  return request('PATCH', `/simulator/gateways/${encodeURIComponent(gatewayId)}`, { online });
}

/** Sets the share of frames that is lost on air in both directions, 0 to 1. */
export function setLoss(share: number): Promise<void> {
  return request('PATCH', '/simulator/links', { loss_up: share, loss_down: share });
}

/** Takes a simulated light's power away for a moment. */
export function reboot(devEui: string): Promise<void> {
  return request('POST', `/simulator/lights/${encodeURIComponent(devEui)}/reboot`);
}

/** What went wrong, in words to show. */
export function errorWords(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

let signedOut: (() => void) | null = null;

/** Has a function called when the API knows the session no more: it ended, or its key was revoked. */
export function whenSignedOut(call: () => void): void {
  signedOut = call;
}

/** What a request has besides its method, path and body. */
export interface RequestOptions {
  /** For example `if-match`. */
  headers?: Record<string, string>;
  /** Ends the request when its answer is no longer wanted. */
  signal?: AbortSignal;
}

/** Asks the API; `path` is what follows `/api/v1`. Throws an `ApiError` in words to show. */
export async function request<T>(method: string, path: string, body?: unknown, options: RequestOptions = {}): Promise<T> {
  return (await exchange<T>(method, path, body, options)).value;
}

/** As `request`, with the answer's `ETag`: to be sent as `if-match` with a change of what was answered. */
export async function exchange<T>(
  method: string,
  path: string,
  body?: unknown,
  options: RequestOptions = {},
): Promise<{ value: T; etag: string | null }> {
  const headers: Record<string, string> = { accept: 'application/json', ...options.headers };
  // A page of another site can neither set this header nor be allowed to: the server asks for it on every change.
  if (method !== 'GET') headers['x-downbeat-request'] = 'page';
  // Text goes as it is, such as a CSV file, whose type the caller names.
  const text = typeof body === 'string';
  if (body !== undefined && !text) headers['content-type'] = 'application/json';
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const response = await send(path, {
    method,
    headers,
    ...(body === undefined ? {} : { body: text ? body : JSON.stringify(body) }),
    signal: options.signal ? AbortSignal.any([options.signal, timeout]) : timeout,
  });
  const answer: unknown = await response.json().catch(() => undefined);
  if (response.status === 401 && path !== SESSION) signedOut?.();
  if (!response.ok) throw new ApiError(response.status, problemWords(response, answer), ...problemParts(answer));
  return { value: answer as T, etag: response.headers.get('etag') };
}

/** Reads from the API. */
export function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return request('GET', path, undefined, signal ? { signal } : {});
}

async function send(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(`/api/v1${path}`, { ...init, credentials: 'same-origin', cache: 'no-store' });
  } catch (cause) {
    const timedOut = cause instanceof DOMException && cause.name === 'TimeoutError';
    throw new ApiError(0, timedOut ? 'Downbeat did not answer in time.' : 'Downbeat cannot be reached.');
  }
}

function problemParts(answer: unknown): [type: string, fields: FieldError[]] {
  const { type, errors } = (answer ?? {}) as { type?: unknown; errors?: FieldError[] };
  return [typeof type === 'string' ? type : '', errors ?? []];
}

/** The server's own words (RFC 9457), else the status. */
function problemWords(response: Response, answer: unknown): string {
  const problem = (answer ?? {}) as { title?: string; detail?: string; errors?: { field: string; message: string }[] };
  const fields = (problem.errors ?? []).map(({ field, message }) => `${field} ${message}`).join('; ');
  const words = [problem.detail ?? problem.title, fields].filter(Boolean).join(' ');
  return words || `Downbeat answered ${response.status} ${response.statusText}`.trim();
}
