/**
 * The stream of live events.
 *
 * A browser reconnects an event stream by itself after a broken connection, but gives up when the server answers with an
 * error (a restart behind a proxy, an ended session). Then this tries again, with a growing pause.
 * Events are handed on in batches, at most one a frame: a fleet that answers all at once must not stall the page.
 */
import type { DevicePatch, DownlinkEvent, Gateway, JobEvent, QueueEvent, SyncEvent } from './types';

/** One event of the stream. */
export type LiveEvent =
  | { type: 'device'; data: DevicePatch }
  | { type: 'downlink'; data: DownlinkEvent }
  | { type: 'gateway'; data: Gateway }
  | { type: 'sync'; data: SyncEvent }
  | { type: 'job'; data: JobEvent }
  | { type: 'queue'; data: QueueEvent }
  | { type: 'reset' };

/** What happens on the stream. */
export interface LiveHandlers {
  /** The stream is open; what was missed before has to be loaded. */
  opened(): void;
  /** The stream broke; it is being reopened. */
  lost(): void;
  /** The server refused the stream: the session may have ended. */
  refused(): void;
  events(batch: LiveEvent[]): void;
}

/** Events that carry data. */
const TYPES = ['device', 'downlink', 'gateway', 'sync', 'job', 'queue'] as const;

const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 15_000;

/** A hidden page gets no frames: its events are handed on this often. */
const HIDDEN_BATCH_MS = 1_000;

/** Opens the stream and keeps it open until the returned function is called. */
export function listen(tenant: string, handlers: LiveHandlers): () => void {
  const url = `/api/v1/tenants/${encodeURIComponent(tenant)}/events`;
  const batch = batched(handlers.events);
  let source: EventSource | null = null;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let pause = RETRY_MIN_MS;

  const open = () => {
    source = new EventSource(url);
    source.onopen = () => {
      pause = RETRY_MIN_MS;
      handlers.opened();
    };
    source.onerror = () => {
      handlers.lost();
      if (source?.readyState !== EventSource.CLOSED) return;
      handlers.refused();
      retry = setTimeout(open, pause);
      pause = Math.min(pause * 2, RETRY_MAX_MS);
    };
    for (const type of TYPES) source.addEventListener(type, (event) => batch.add(parse(type, event)));
    source.addEventListener('reset', () => batch.add({ type: 'reset' }));
  };

  open();
  return () => {
    clearTimeout(retry);
    batch.stop();
    source?.close();
  };
}

function parse(type: (typeof TYPES)[number], event: MessageEvent<string>): LiveEvent | null {
  try {
    return { type, data: JSON.parse(event.data) } as LiveEvent;
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
