/**
 * Things by their key, for lists of thousands of which a few change at a time.
 *
 * A SvelteMap has a signal per entry, and whoever walks it depends on each of them. Here are two for all: what is read
 * of any entry is read again after each change, which is cheap, and the order is made anew only when a name or the
 * membership changed, which is not.
 */
export class Registry<T extends { name: string }> {
  readonly #items = new Map<string, T>();
  #changes = $state(0);
  #roll = $state(0);

  readonly #order: readonly string[] = $derived.by(() => {
    void this.#roll;
    return [...this.#items].sort(([, a], [, b]) => NAMES.compare(a.name, b.name)).map(([key]) => key);
  });

  readonly #sorted: readonly T[] = $derived.by(() => {
    void this.#changes;
    return this.#order.flatMap((key) => this.#items.get(key) ?? []);
  });

  get size(): number {
    void this.#roll;
    return this.#items.size;
  }

  get(key: string): T | undefined {
    void this.#changes;
    return this.#items.get(key);
  }

  has(key: string): boolean {
    void this.#roll;
    return this.#items.has(key);
  }

  /** By name. */
  sorted(): readonly T[] {
    return this.#sorted;
  }

  set(key: string, item: T): void {
    const known = this.#items.get(key);
    if (known === item) return;
    this.#items.set(key, item);
    this.#changes += 1;
    if (known?.name !== item.name) this.#roll += 1;
  }

  delete(key: string): void {
    if (this.#items.delete(key)) this.#changed();
  }

  /** Leaves only what is told. */
  retain(keep: ReadonlySet<string>): void {
    for (const key of [...this.#items.keys()]) if (!keep.has(key)) this.#items.delete(key);
    this.#changed();
  }

  clear(): void {
    this.#items.clear();
    this.#changed();
  }

  #changed(): void {
    this.#changes += 1;
    this.#roll += 1;
  }
}

const NAMES = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });
