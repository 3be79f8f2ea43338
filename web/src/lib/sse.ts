/**
 * Server-Sent Events read from a response, as the HTML standard says how.
 *
 * The browser's own EventSource tells nobody of comments, so a connection that died without a word looks live for ever.
 * Here every piece that arrives counts as a sign of life.
 */

/** One event of a stream. */
export interface StreamEvent {
  /** `message` if the server named none. */
  type: string;
  data: string;
  /** The last id that the stream has told, of this event or one before. */
  id: string;
}

/** Takes a stream's text in pieces, wherever they are cut, and gives the events that are complete. */
export class StreamParser {
  #rest = '';
  #type = '';
  #data: string[] = [];
  #id: string;

  /** Begins where a stream before it ended. */
  constructor(id = '') {
    this.#id = id;
  }

  /** The events that end in this piece. */
  take(piece: string): StreamEvent[] {
    const text = this.#rest + piece;
    // A CR at the end may be half of a CRLF.
    const lines = text.split(text.endsWith('\r') ? /\r\n|\n|\r(?!$)/ : /\r\n|\n|\r/);
    this.#rest = lines.pop() ?? '';
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line: string): StreamEvent[] {
    if (line === '') return this.#end();
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.#type = value;
    else if (field === 'data') this.#data.push(value);
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    return [];
  }

  #end(): StreamEvent[] {
    const [type, data] = [this.#type, this.#data];
    [this.#type, this.#data] = ['', []];
    if (data.length === 0) return [];
    return [{ type: type || 'message', data: data.join('\n'), id: this.#id }];
  }
}
