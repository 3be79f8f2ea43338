/**
 * Which tenant an administrator of the platform looks at, kept for this tab.
 *
 * For the tab and not for the browser: two tabs may show two tenants side by side.
 */
import { ApiError } from './api';
import { get } from './api/tenants';
import type { Session } from './types';

const KEY = 'downbeat.tenant';

/** The session with the tenant that was chosen in this tab, if it is still there and may be chosen. */
export async function withChoice(session: Session): Promise<Session> {
  const id = read();
  if (session.platform !== true || id === null || id === session.tenant.id) return session;
  try {
    const { name } = await get(id);
    return { ...session, tenant: { id, name } };
  } catch (error) {
    // A tenant that is gone; whatever else is wrong shows by itself.
    if (error instanceof ApiError && error.status === 404) keepChoice(null);
    return session;
  }
}

/** Remembers the choice; null forgets it. */
export function keepChoice(id: string | null): void {
  // Storage may be forbidden; the choice then lasts as long as the page.
  try {
    if (id === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, id);
  } catch {
    return;
  }
}

function read(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}
