/** Short messages about what just happened, which leave by themselves. */

interface Notice {
  id: number;
  kind: 'info' | 'problem';
  text: string;
}

const INFO_MS = 6_000;
const PROBLEM_MS = 15_000;

/** Shown at once at most; the oldest goes first. */
const SHOWN_MAX = 3;

class Notices {
  shown = $state<Notice[]>([]);
  #last = 0;

  info(text: string): void {
    this.#show('info', text, INFO_MS);
  }

  problem(text: string): void {
    this.#show('problem', text, PROBLEM_MS);
  }

  dismiss(id: number): void {
    this.shown = this.shown.filter((notice) => notice.id !== id);
  }

  #show(kind: Notice['kind'], text: string, milliseconds: number): void {
    const id = (this.#last += 1);
    this.shown = [...this.shown.filter((notice) => notice.text !== text), { id, kind, text }].slice(-SHOWN_MAX);
    setTimeout(() => this.dismiss(id), milliseconds);
  }
}

export const notices = new Notices();
