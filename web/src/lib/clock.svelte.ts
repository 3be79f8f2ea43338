/** The time, for texts such as "4 s ago". One timer for the whole page. */
class Clock {
  /** Milliseconds since the epoch, renewed every second. */
  now = $state(Date.now());

  constructor() {
    setInterval(() => (this.now = Date.now()), 1_000);
  }
}

export const clock = new Clock();
