/**
 * The stream of live events.
 *
 * It is kept open, with a growing pause between attempts, and resumes where it broke: the server keeps the latest events,
 * and says `reset` when those that were missed are not among them any more. A stream that is silent for too long is dead
 * and opened anew. Events are handed on in batches, at most one a frame: a fleet that answers all at once must not stall
 * the page.
 *
 * A browser has six connections to a host in all, and each open stream holds one. So a page that nobody looks at gives its
 * stream up after a while, at once when another page of this browser is looked at, and resumes when it is shown again.
 */
import { StreamParser, type StreamEvent } from './sse';
import type { DevicePatch, DownlinkEvent, Gateway, JobEvent, QueueEvent, RegistryEvent, SyncEvent } from './types';

/** One event of the stream. */
export type LiveEvent =
  | { type: 'device'; data: DevicePatch }
  | { type: 'downlink'; data: DownlinkEvent }
  | { type: 'gateway'; data: Gateway }
  | { type: 'sync'; data: SyncEvent }
  | { type: 'job'; data: JobEvent }
  | { type: 'queue'; data: QueueEvent }
  | { type: 'registry'; data: RegistryEvent }
  | { type: 'reset' };

/** What happens on the stream. */
export interface LiveHandlers {
  /** The stream is open. If it did not resume where it broke, what was missed before has to be loaded. */
  opened(resumed: boolean): void;
  /** The stream broke; it is being reopened. */
  lost(): void;
  /** The server refused the stream: the session may have ended. */
  refused(): void;
  events(batch: LiveEvent[]): void;
}

/** Events that carry data. */
const TYPES = ['device', 'downlink', 'gateway', 'sync', 'job', 'queue', 'registry'] as const;

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 10_000;

/** The server says something at least every 15 s; a stream that is silent for longer is dead. */
const SILENCE_MAX_MS = 40_000;

/** A hidden page keeps its stream for so long: many who leave come back at once. */
const HIDDEN_GRACE_MS = 30_000;

/** Where pages of this browser tell each other that they are looked at. */
const CHANNEL = 'downbeat.shown';

/** A hidden page gets no frames: its events are handed on this often. */
const HIDDEN_BATCH_MS = 1_000;

/** Opens the stream and keeps it open until the returned function is called. */
export function listen(tenant: string, handlers: LiveHandlers): () => void {
  const url = `/api/v1/tenants/${encodeURIComponent(tenant)}/events`;
  const batch = batched(handlers.events);
  const stopped = new AbortController();
  let lastId = '';
  let pause = RETRY_MIN_MS;
  let wake: (() => void) | null = null;
  /** Ends the stream that is open, or being opened. */
  let release: (() => void) | null = null;
  const attention = watched({
    left: () => release?.(),
    back: () => wake?.(),
  });

  // When the network or the page is back there is nothing to wait for.
  const hurry = () => wake?.();
  addEventListener('online', hurry);
  addEventListener('pageshow', hurry);
  void keepOpen();

  async function keepOpen(): Promise<void> {
    while (!stopped.signal.aborted) {
      if (attention.isAway) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      await once().catch(() => undefined);
      if (stopped.signal.aborted) return;
      // It was given up, not lost: what is shown was true then, and nobody looks.
      if (attention.isAway) continue;
      handlers.lost();
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, pause * (0.75 + Math.random() / 2));
      });
      pause = Math.min(pause * 2, RETRY_MAX_MS);
    }
  }

  async function once(): Promise<void> {
    const dead = new AbortController();
    let watchdog = setTimeout(() => dead.abort(), SILENCE_MAX_MS);
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => dead.abort(), SILENCE_MAX_MS);
    };
    const offline = () => dead.abort();
    release = offline;
    addEventListener('offline', offline);
    // A page that the browser keeps for going back holds on to its connection, of which it has six in all.
    addEventListener('pagehide', offline);
    try {
      const response = await fetch(url, {
        headers: { accept: 'text/event-stream', ...(lastId === '' ? {} : { 'last-event-id': lastId }) },
        credentials: 'same-origin',
        cache: 'no-store',
        signal: AbortSignal.any([stopped.signal, dead.signal]),
      });
      if (!response.ok || !response.body) {
        handlers.refused();
        return;
      }
      pause = RETRY_MIN_MS;
      handlers.opened(lastId !== '');
      const parser = new StreamParser(lastId);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        alive();
        for (const event of parser.take(piece.value)) {
          lastId = event.id;
          batch.add(read(event));
        }
      }
    } finally {
      clearTimeout(watchdog);
      removeEventListener('offline', offline);
      removeEventListener('pagehide', offline);
    }
  }

  return () => {
    stopped.abort();
    attention.stop();
    wake?.();
    removeEventListener('online', hurry);
    removeEventListener('pageshow', hurry);
    batch.stop();
  };
}

/** Whether anybody looks at the page: not since it was hidden for a while, or since another one was looked at instead. */
function watched({ left, back }: { left: () => void; back: () => void }) {
  const others = new BroadcastChannel(CHANNEL);
  let isAway = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const leave = () => {
    if (isAway || !document.hidden) return;
    isAway = true;
    left();
  };
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) {
      timer = setTimeout(leave, HIDDEN_GRACE_MS);
      return;
    }
    others.postMessage(null);
    if (!isAway) return;
    isAway = false;
    back();
  };
  others.onmessage = leave;
  document.addEventListener('visibilitychange', look);
  look();
  return {
    get isAway() {
      return isAway;
    },
    stop() {
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', look);
      others.close();
    },
  };
}

function read({ type, data }: StreamEvent): LiveEvent | null {
  if (type === 'reset') return { type };
  const known = TYPES.find((one) => one === type);
  if (!known) return null;
  try {
    return { type: known, data: JSON.parse(data) } as LiveEvent;
  } catch {
    // One unreadable event is no reason to stop showing the others.
    return null;
  }
}

function batched(deliver: (batch: LiveEvent[]) => void) {
  let waiting: LiveEvent[] = [];
  let cancel: (() => void) | null = null;
  const flush = () => {
    cancel = null;
    const batch = waiting;
    waiting = [];
    deliver(batch);
  };
  const schedule = (): (() => void) => {
    if (document.hidden) {
      const timer = setTimeout(flush, HIDDEN_BATCH_MS);
      return () => clearTimeout(timer);
    }
    const frame = requestAnimationFrame(flush);
    return () => cancelAnimationFrame(frame);
  };
  const reschedule = () => {
    // A frame asked for before the page was hidden would not come until it is shown again.
    if (!cancel) return;
    cancel();
    cancel = schedule();
  };
  document.addEventListener('visibilitychange', reschedule);
  return {
    add(event: LiveEvent | null) {
      if (!event) return;
      waiting.push(event);
      cancel ??= schedule();
    },
    stop() {
      cancel?.();
      document.removeEventListener('visibilitychange', reschedule);
    },
  };
}
