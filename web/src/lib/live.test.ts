import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { listen, type LiveEvent } from './live';

/** A server whose streams are written to and broken by hand. */
class Server {
  readonly asked: (string | null)[] = [];
  refuses = false;
  /** Whether there is a stream that nobody ended. */
  open = false;
  #stream: ReadableStreamDefaultController<Uint8Array> | null = null;

  readonly fetch = (_: string, init: RequestInit): Promise<Response> => {
    this.asked.push(new Headers(init.headers).get('last-event-id'));
    if (this.refuses) return Promise.resolve(new Response('{}', { status: 401 }));
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#stream = controller;
        this.open = true;
        init.signal?.addEventListener('abort', () => {
          this.open = false;
          controller.error(init.signal?.reason);
        });
      },
    });
    return Promise.resolve(new Response(body));
  };

  says(text: string): void {
    this.#stream?.enqueue(new TextEncoder().encode(text));
  }

  breaks(): void {
    this.#stream?.error(new Error('broken'));
  }
}

/** A document that is hidden and shown by hand. */
class Screen extends EventTarget {
  hidden = false;

  hide(): void {
    this.hidden = true;
    this.dispatchEvent(new Event('visibilitychange'));
  }

  show(): void {
    this.hidden = false;
    this.dispatchEvent(new Event('visibilitychange'));
  }
}

/** Messages between the pages of one browser. */
class Channel {
  static readonly all = new Set<Channel>();
  onmessage: (() => void) | null = null;

  constructor() {
    Channel.all.add(this);
  }

  postMessage(): void {
    for (const other of Channel.all) if (other !== this) other.onmessage?.();
  }

  close(): void {
    Channel.all.delete(this);
  }
}

describe('listen', () => {
  let screen: Screen;
  let server: Server;
  let told: string[];
  let events: LiveEvent[];
  let stop: () => void;

  beforeEach(() => {
    vi.useFakeTimers();
    server = new Server();
    told = [];
    events = [];
    vi.stubGlobal('fetch', server.fetch);
    screen = new Screen();
    Channel.all.clear();
    vi.stubGlobal('document', screen);
    vi.stubGlobal('BroadcastChannel', Channel);
    vi.stubGlobal('requestAnimationFrame', (call: () => void) => setTimeout(call, 16));
    vi.stubGlobal('cancelAnimationFrame', (frame: number) => clearTimeout(frame));
    vi.stubGlobal('addEventListener', () => undefined);
    vi.stubGlobal('removeEventListener', () => undefined);
    stop = listen('default', {
      opened: (resumed) => told.push(resumed ? 'resumed' : 'opened'),
      lost: () => told.push('lost'),
      refused: () => told.push('refused'),
      events: (batch) => events.push(...batch),
    });
  });

  afterEach(() => {
    stop();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it('hands events on, and leaves out what it does not know or cannot read', async () => {
    await vi.advanceTimersByTimeAsync(0);
    server.says('event: gateway\nid: a-1\ndata: {"gateway_id":"g"}\n\nevent: new\ndata: {}\n\nevent: job\ndata: {\n\n');
    await vi.advanceTimersByTimeAsync(2_000);
    expect(events).toEqual([{ type: 'gateway', data: { gateway_id: 'g' } }]);
  });

  it('resumes where a broken stream ended', async () => {
    await vi.advanceTimersByTimeAsync(0);
    server.says('event: reset\nid: a-7\ndata: {}\n\n');
    await vi.advanceTimersByTimeAsync(10);
    server.breaks();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(told).toEqual(['opened', 'lost', 'resumed']);
    expect(server.asked).toEqual([null, 'a-7']);
  });

  it('has everything loaded anew when there was nothing to resume from', async () => {
    await vi.advanceTimersByTimeAsync(0);
    server.breaks();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(told).toEqual(['opened', 'lost', 'opened']);
  });

  it('takes a silent stream for dead', async () => {
    await vi.advanceTimersByTimeAsync(39_000);
    server.says(': still here\n\n');
    await vi.advanceTimersByTimeAsync(39_000);
    expect(told).toEqual(['opened']);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(told).toEqual(['opened', 'lost', 'opened']);
  });

  it('says when it is refused, and asks less and less often', async () => {
    await vi.advanceTimersByTimeAsync(0);
    server.refuses = true;
    server.breaks();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told.filter((word) => word === 'refused').length).toBeGreaterThan(3);
    expect(server.asked.length).toBeLessThan(16);
  });

  it('gives its stream up when it is hidden for long, and resumes where it was when it is shown', async () => {
    await vi.advanceTimersByTimeAsync(0);
    server.says('event: reset\nid: a-7\ndata: {}\n\n');
    await vi.advanceTimersByTimeAsync(10);
    screen.hide();
    await vi.advanceTimersByTimeAsync(29_000);
    server.says(': still here\n\n');
    screen.show();
    await vi.advanceTimersByTimeAsync(29_000);
    server.says(': still here\n\n');
    expect(server.open, 'it was back in time').toBe(true);
    screen.hide();
    await vi.advanceTimersByTimeAsync(31_000);
    expect(server.open).toBe(false);
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(server.asked, 'nobody looks, so nobody asks').toEqual([null]);
    screen.show();
    await vi.advanceTimersByTimeAsync(0);
    expect(server.asked).toEqual([null, 'a-7']);
    expect(told, 'nothing was lost').toEqual(['opened', 'resumed']);
  });

  it('gives its stream up at once when it is hidden and another page is looked at', async () => {
    await vi.advanceTimersByTimeAsync(0);
    const another = new Channel();
    another.postMessage();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(server.open, 'both are in sight').toBe(true);
    screen.hide();
    another.postMessage();
    await vi.advanceTimersByTimeAsync(0);
    expect(server.open).toBe(false);
    let others = 0;
    another.onmessage = () => (others += 1);
    screen.show();
    await vi.advanceTimersByTimeAsync(0);
    expect(server.open).toBe(true);
    expect(others, 'the other one hears of it').toBe(1);
  });

  it('is quiet once it was stopped', async () => {
    await vi.advanceTimersByTimeAsync(0);
    stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told).toEqual(['opened']);
    expect(server.asked).toHaveLength(1);
  });
});
