/** Who is signed in by a browser. */
import { request } from '../api';

/** A browser that is signed in. */
export interface BrowserSession {
  id: string;
  /** Whether it is this one. */
  current: boolean;
  /** null: a local ticket. */
  key_id: string | null;
  key_name: string | null;
  /** null: the platform. */
  tenant_id: string | null;
  role: string;
  began_at: string;
  used_at: string;
  /** When it ends if it is not used any more. */
  ends_at: string;
  address: string | null;
  /** What the browser calls itself. */
  agent: string | null;
}

/** Those of the own key; for administrators all that they may see. */
export async function list(): Promise<BrowserSession[]> {
  return (await request<{ sessions: BrowserSession[] }>('GET', '/sessions')).sessions;
}

/** Signs a browser out. */
export function end(id: string): Promise<void> {
  return request('DELETE', `/sessions/${encodeURIComponent(id)}`);
}
