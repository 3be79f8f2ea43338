/** What the session's role allows. The server decides by itself; the page only does not offer what it would refuse. */
import { fleet } from './store.svelte';
import type { Session } from './types';

/**
 * `command`: send colours, run jobs, initialise, re-sync. `administer`: the registry, keys, the network server.
 * `platform`: all tenants. `simulate`: switch what is simulated.
 */
export type Permission = 'command' | 'administer' | 'platform' | 'simulate';

/** Whether a session may do so. */
export function allows(session: Pick<Session, 'role' | 'simulator' | 'platform'> | null, permission: Permission): boolean {
  if (!session) return false;
  const admin = session.role === 'admin';
  const command = admin || session.role === 'operator';
  switch (permission) {
    case 'command':
      return command;
    case 'administer':
      return admin;
    case 'platform':
      return admin && session.platform === true;
    case 'simulate':
      return command && session.simulator;
  }
}

/** Whether who is signed in may do so. */
export function may(permission: Permission): boolean {
  return allows(fleet.session, permission);
}
