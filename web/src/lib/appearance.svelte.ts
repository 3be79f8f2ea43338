/** What the person at the screen prefers: theme, whether lights may blink, and how closely they stand. Kept in this browser. */

export type Theme = 'system' | 'light' | 'dark';

const THEME_KEY = 'downbeat.theme';
const STILL_KEY = 'downbeat.still';
const DENSE_KEY = 'downbeat.dense';

class Appearance {
  theme = $state<Theme>(asTheme(read(THEME_KEY)));
  /** Lights that blink are shown lit: what moves by itself must be stoppable. */
  still = $state(read(STILL_KEY) === 'true' || matchMedia('(prefers-reduced-motion: reduce)').matches);

  /** Many lights on the screen rather than much about each. */
  dense = $state(read(DENSE_KEY) === 'true');

  constructor() {
    applyTheme(this.theme);
  }

  /** Goes on to the next theme: as the system, light, dark. */
  nextTheme(): void {
    this.setTheme(this.theme === 'system' ? 'light' : this.theme === 'light' ? 'dark' : 'system');
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    write(THEME_KEY, theme);
    applyTheme(theme);
  }

  toggleStill(): void {
    this.still = !this.still;
    write(STILL_KEY, String(this.still));
  }

  toggleDense(): void {
    this.dense = !this.dense;
    write(DENSE_KEY, String(this.dense));
  }
}

export const appearance = new Appearance();

function asTheme(text: string | null): Theme {
  return text === 'light' || text === 'dark' ? text : 'system';
}

function applyTheme(theme: Theme): void {
  document.documentElement.dataset['theme'] = theme;
}

// Storage may be forbidden; the choice then lasts as long as the page.
function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    return;
  }
}
