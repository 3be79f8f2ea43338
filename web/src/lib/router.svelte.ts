/** Where the page is: the path and the query of the address, kept by the History API. */
import { changedQuery, place, type Place } from './routes';

class Route {
  #path = $state(location.pathname);
  #search = $state(location.search);
  /** How the page was come to: by a link, by the browser's own buttons, or by its address. */
  arrival = $state.raw<'link' | 'history' | 'address'>('address');

  readonly #place = $derived<Place>(place(this.#path));

  constructor() {
    addEventListener('popstate', () => {
      this.arrival = 'history';
      this.#read();
    });
  }

  /** The page to show. */
  get page(): Place['page'] {
    return this.#place.page;
  }

  /** The device's, gateway's or job's id. */
  get id(): string | null {
    return this.#place.id;
  }

  get path(): string {
    return this.#path;
  }

  /** What follows the `?`. */
  get query(): URLSearchParams {
    return new URLSearchParams(this.#search);
  }

  /** Goes to a path with its query. */
  go(target: string, how: { replace?: boolean } = {}): void {
    const url = new URL(target, location.href);
    if (how.replace) history.replaceState(null, '', url);
    else if (url.href !== location.href) history.pushState(null, '', url);
    this.arrival = 'link';
    this.#read();
  }

  /** Changes values of the query where the page is, without a step in the history; null takes one out. */
  setQuery(changes: Readonly<Record<string, string | null>>): void {
    history.replaceState(null, '', this.#path + changedQuery(this.#search, changes));
    this.#read();
  }

  #read(): void {
    this.#path = location.pathname;
    this.#search = location.search;
  }
}

/** The page's one place. */
export const route = new Route();

/** Goes to a path of this page, with its query. */
export function go(path: string, how?: { replace?: boolean }): void {
  route.go(path, how);
}

/** Follows links of this page without loading it anew; every other click is the browser's. */
export function follow(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || link.target !== '' || link.hasAttribute('download') || link.origin !== location.origin) return;
  if (place(link.pathname).page === 'unknown' || (link.hash !== '' && link.pathname === location.pathname)) return;
  event.preventDefault();
  go(link.pathname + link.search);
}
