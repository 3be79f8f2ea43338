/**
 * A list that the server gives page by page, kept up to date.
 *
 * The first page is loaded anew whenever what `load` reads changes, and by `reload`; further pages are added below it.
 * A reload drops the further pages only if the question changed: otherwise a refresh would take away what is being read.
 */
import type { Page } from './api/jobs';

/** A list as a page shows it. */
export interface Paged<T> {
  /** Null before the first answer. */
  readonly items: T[] | null;
  readonly error: unknown;
  readonly loading: boolean;
  /** Whether there are more. */
  readonly hasMore: boolean;
  readonly moreBusy: boolean;
  /** Loads what is shown anew. */
  reload(): Promise<void>;
  /** Adds the next page. */
  more(): Promise<void>;
  /** Puts a changed item in the place of the one with its key; false if it is not there. */
  patch(key: string, change: (item: T) => T): boolean;
}

/** To be called while a component is made; `load` has to read what it depends on before its first `await`. */
export function paged<T>(key: (item: T) => string, load: (cursor: string | null) => Promise<Page<T>>, every?: number): Paged<T> {
  const list = new PagedList<T>(key, load);
  $effect(() => {
    void list.begin();
    return () => list.stop();
  });
  $effect(() => {
    if (every === undefined) return;
    const timer = setInterval(() => {
      if (!document.hidden) void list.reload();
    }, every);
    return () => clearInterval(timer);
  });
  return list;
}

class PagedList<T> implements Paged<T> {
  items = $state.raw<T[] | null>(null);
  error = $state.raw<unknown>(null);
  loading = $state(false);
  moreBusy = $state(false);
  #next = $state<string | null>(null);
  /** Grows with each question, so that an answer that was overtaken is known. */
  #turn = 0;
  #key: (item: T) => string;
  #load: (cursor: string | null) => Promise<Page<T>>;

  constructor(key: (item: T) => string, load: (cursor: string | null) => Promise<Page<T>>) {
    this.#key = key;
    this.#load = load;
  }

  get hasMore(): boolean {
    return this.#next !== null;
  }

  /** A new question: what the last one showed stays until its answer is there. */
  async begin(): Promise<void> {
    await this.#first((page) => {
      this.items = page.items;
      this.#next = page.next;
    });
  }

  async reload(): Promise<void> {
    await this.#first((page) => {
      const shown = this.items ?? [];
      const fresh = new Set(page.items.map(this.#key));
      // Where the first page is all there is, what it does not hold is gone.
      const lastFresh = page.next === null ? shown.length : shown.findLastIndex((item) => fresh.has(this.#key(item)));
      const below = shown.slice(lastFresh + 1).filter((item) => !fresh.has(this.#key(item)));
      this.items = [...page.items, ...below];
      if (below.length === 0) this.#next = page.next;
    });
  }

  async more(): Promise<void> {
    if (this.#next === null || this.moreBusy) return;
    const turn = this.#turn;
    this.moreBusy = true;
    try {
      const page = await this.#load(this.#next);
      if (turn !== this.#turn) return;
      const known = new Set(this.items?.map(this.#key));
      this.items = [...(this.items ?? []), ...page.items.filter((item) => !known.has(this.#key(item)))];
      this.#next = page.next;
      this.error = null;
    } catch (error) {
      if (turn === this.#turn) this.error = error;
    } finally {
      this.moreBusy = false;
    }
  }

  patch(key: string, change: (item: T) => T): boolean {
    const index = this.items?.findIndex((item) => this.#key(item) === key) ?? -1;
    const item = this.items?.[index];
    if (!this.items || item === undefined) return false;
    this.items = this.items.with(index, change(item));
    return true;
  }

  stop(): void {
    this.#turn += 1;
  }

  async #first(take: (page: Page<T>) => void): Promise<void> {
    const turn = (this.#turn += 1);
    this.loading = true;
    try {
      const page = await this.#load(null);
      if (turn !== this.#turn) return;
      take(page);
      this.error = null;
    } catch (error) {
      if (turn === this.#turn) this.error = error;
    } finally {
      if (turn === this.#turn) this.loading = false;
    }
  }
}
