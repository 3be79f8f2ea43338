/** Which page a path shows. The server answers each of these paths with the page itself. */

/** The pages, by the name that navigation and titles use. */
export type PageName =
  | 'overview'
  | 'devices'
  | 'device'
  | 'gateways'
  | 'gateway'
  | 'jobs'
  | 'job'
  | 'unclaimed'
  | 'drift'
  | 'audit'
  | 'settings'
  | 'unknown';

/** A path, read. */
export interface Place {
  page: PageName;
  /** What the path names: a device's, gateway's or job's id. */
  id: string | null;
}

const LISTS: Readonly<Record<string, PageName>> = {
  devices: 'devices',
  gateways: 'gateways',
  jobs: 'jobs',
  unclaimed: 'unclaimed',
  drift: 'drift',
  audit: 'audit',
  settings: 'settings',
};

const THINGS: Readonly<Record<string, PageName>> = { devices: 'device', gateways: 'gateway', jobs: 'job' };

/** What a path shows; a path that is none leads to `unknown`. */
export function place(pathname: string): Place {
  const parts = pathname.split('/').filter((part) => part !== '');
  const [list, id] = parts;
  if (list === undefined) return { page: 'overview', id: null };
  if (parts.length === 1 && Object.hasOwn(LISTS, list)) return { page: LISTS[list] ?? 'unknown', id: null };
  if (parts.length === 2 && id !== undefined && Object.hasOwn(THINGS, list)) {
    const name = decoded(id);
    if (name !== null) return { page: THINGS[list] ?? 'unknown', id: name };
  }
  return { page: 'unknown', id: null };
}

/** The entry of the navigation that a page belongs to. */
export function section(page: PageName): PageName {
  if (page === 'device') return 'devices';
  if (page === 'gateway') return 'gateways';
  return page === 'job' ? 'jobs' : page;
}

/** The query after some of its values changed; an empty value or null takes one out. */
export function changedQuery(query: string, changes: Readonly<Record<string, string | null>>): string {
  const params = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === '') params.delete(name);
    else params.set(name, value);
  }
  const text = params.toString();
  return text === '' ? '' : `?${text}`;
}

function decoded(part: string): string | null {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}
