/** The keys of the lights that are selected: one signal for all, as ten thousand may be selected at once. */
export class DeviceSelection {
  #keys = $state.raw<ReadonlySet<string>>(new Set());

  get size(): number {
    return this.#keys.size;
  }

  /** All of them; another set after each change. */
  get keys(): ReadonlySet<string> {
    return this.#keys;
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  replace(keys: Iterable<string>): void {
    this.#keys = new Set(keys);
  }

  delete(key: string): void {
    if (this.#keys.has(key)) this.replace([...this.#keys].filter((other) => other !== key));
  }

  clear(): void {
    if (this.#keys.size > 0) this.#keys = new Set();
  }
}
