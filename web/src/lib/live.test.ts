import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { listen, type LiveEvent } from './live';

/** A server whose streams are written to and broken by hand. */
class Server {
  readonly asked: (string | null)[] = [];
  refuses = false;
  #stream: ReadableStreamDefaultController<Uint8Array> | null = null;

  readonly fetch = (_: string, init: RequestInit): Promise<Response> => {
    this.asked.push(new Headers(init.headers).get('last-event-id'));
    if (this.refuses) return Promise.resolve(new Response('{}', { status: 401 }));
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#stream = controller;
        init.signal?.addEventListener('abort', () => controller.error(init.signal?.reason));
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

describe('listen', () => {
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
    vi.stubGlobal('document', { hidden: true, addEventListener: () => undefined, removeEventListener: () => undefined });
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

  it('is quiet once it was stopped', async () => {
    await vi.advanceTimersByTimeAsync(0);
    stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told).toEqual(['opened']);
    expect(server.asked).toHaveLength(1);
  });
});
