import { describe, expect, it } from 'vitest';
import { StreamParser } from './sse';

const STREAM =
  ': open\nretry: 2000\n\nevent: device\nid: a-1\ndata: {"x":1}\n\n: still here\n\ndata: one\ndata:two\nid: a-2\r\n\r\nevent: reset\ndata: {}\n\nid: a-3\n\nevent: none\n\nno colon\n\ndata\n\n';

const EVENTS = [
  { type: 'device', data: '{"x":1}', id: 'a-1' },
  { type: 'message', data: 'one\ntwo', id: 'a-2' },
  { type: 'reset', data: '{}', id: 'a-2' },
  { type: 'message', data: '', id: 'a-3' },
];

describe('StreamParser', () => {
  it('reads events, comments and ids', () => {
    expect(new StreamParser().take(STREAM)).toEqual(EVENTS);
  });

  it.each([1, 2, 3, 7, 50])('reads the same in pieces of %i', (length) => {
    const parser = new StreamParser();
    const events = [];
    for (let at = 0; at < STREAM.length; at += length) events.push(...parser.take(STREAM.slice(at, at + length)));
    expect(events).toEqual(EVENTS);
  });

  it('keeps what is not complete', () => {
    const parser = new StreamParser('a-9');
    expect(parser.take('data: half')).toEqual([]);
    expect(parser.take(' done\n\n')).toEqual([{ type: 'message', data: 'half done', id: 'a-9' }]);
  });

  it('takes a lone CR for an end of line', () => {
    expect(new StreamParser().take('data: a\r\rdata: b\r\r\n')).toEqual([
      { type: 'message', data: 'a', id: '' },
      { type: 'message', data: 'b', id: '' },
    ]);
  });
});
