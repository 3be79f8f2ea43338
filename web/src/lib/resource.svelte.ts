/** Something loaded from the API for one page: its value, what went wrong, and loading it again. */

/** What is loaded, as a page shows it. */
export interface Resource<T> {
  /** The last answer; null before the first. It stays while a newer one is loaded. */
  readonly value: T | null;
  /** Why the last load failed; null if it did not. */
  readonly error: unknown;
  readonly loading: boolean;
  /** Loads again. */
  reload(): Promise<void>;
  /** Puts a value in place, such as the answer of a change. */
  set(value: T): void;
}

/**
 * Loads when the component starts, and again whenever what `load` reads before its first `await` changes.
 *
 * An answer that was overtaken by a newer question is dropped. To be called while a component is made.
 */
export function resource<T>(load: (signal: AbortSignal) => Promise<T>, every?: number): Resource<T> {
  const state = new State<T>();
  $effect(() => {
    void state.run(load);
    return () => state.stop();
  });
  $effect(() => {
    if (every === undefined) return;
    let isDue = false;
    const look = () => {
      if (!isDue || document.hidden) return;
      isDue = false;
      void state.run(load);
    };
    const timer = setInterval(() => {
      isDue = true;
      look();
    }, every);
    // Whoever comes back to a page sees it as it is now.
    document.addEventListener('visibilitychange', look);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', look);
    };
  });
  return {
    get value() {
      return state.value;
    },
    get error() {
      return state.error;
    },
    get loading() {
      return state.loading;
    },
    reload: () => state.run(load),
    set: (value) => state.set(value),
  };
}

class State<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<unknown>(null);
  loading = $state(false);
  #current: AbortController | null = null;

  async run(load: (signal: AbortSignal) => Promise<T>): Promise<void> {
    this.stop();
    const current = new AbortController();
    this.#current = current;
    this.loading = true;
    try {
      const value = await load(current.signal);
      if (this.#current !== current) return;
      this.value = value;
      this.error = null;
    } catch (error) {
      if (this.#current === current) this.error = error;
    } finally {
      if (this.#current === current) this.loading = false;
    }
  }

  set(value: T): void {
    this.stop();
    this.value = value;
    this.error = null;
    this.loading = false;
  }

  stop(): void {
    this.#current?.abort();
    this.#current = null;
  }
}
