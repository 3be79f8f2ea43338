//! A reader of the live stream that comes back where it was cut off.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::{Method, Response};

use super::target::{Target, in_words};

/// Pause before a broken stream is opened again.
const AGAIN: Duration = Duration::from_millis(200);

/// An event that is larger than this is none of Downbeat's.
const EVENT_MAX: usize = 1 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Event {
    /// `downlink`, `device`, `reset`, ...
    pub(super) name: String,
    pub(super) data: String,
}

/// An open stream.
pub(super) struct LiveStream {
    target: Target,
    bytes: Option<BoxStream<'static, reqwest::Result<Vec<u8>>>>,
    parser: Parser,
    /// How often it was opened anew.
    pub(super) resumed: u64,
}

impl LiveStream {
    /// Opens it; all that happens from now on comes.
    pub(super) async fn open(target: &Target) -> Result<Self, String> {
        let mut stream = Self {
            target: target.clone(),
            bytes: None,
            parser: Parser::default(),
            resumed: 0,
        };
        stream.connect().await?;
        Ok(stream)
    }

    async fn connect(&mut self) -> Result<(), String> {
        let mut request = self.target.of_tenant(Method::GET, "/events");
        if let Some(id) = &self.parser.last_id {
            request = request.header("Last-Event-ID", id);
        }
        let answer = request.send().await;
        let answer = answer.and_then(Response::error_for_status);
        let answer = answer.map_err(|error| in_words(&error))?;
        let bytes = answer.bytes_stream();
        self.bytes = Some(bytes.map(|it| it.map(|bytes| bytes.to_vec())).boxed());
        self.parser.line.clear();
        Ok(())
    }

    /// The next event, whatever happens to the connection meanwhile.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.parser.pop() {
                return event;
            }
            let chunk = match &mut self.bytes {
                Some(bytes) => bytes.next().await,
                None => None,
            };
            if let Some(Ok(chunk)) = chunk {
                self.parser.push(&chunk);
            } else {
                self.bytes = None;
                tokio::time::sleep(AGAIN).await;
                // Tried again by the next turn of the loop.
                if self.connect().await.is_ok() {
                    self.resumed += 1;
                }
            }
        }
    }
}

/// Lines into events.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    event: Event,
    id: Option<String>,
    last_id: Option<String>,
    ready: std::collections::VecDeque<Event>,
}

impl Parser {
    fn push(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&rest[..end]);
            let line = std::mem::take(&mut self.line);
            self.take(String::from_utf8_lossy(&line).trim_end_matches('\r'));
            rest = &rest[end + 1..];
        }
        if self.line.len() < EVENT_MAX {
            self.line.extend_from_slice(rest);
        }
    }

    fn take(&mut self, line: &str) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if self.id.is_some() {
                self.last_id = self.id.take();
            }
            if !event.data.is_empty() {
                self.ready.push_back(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => self.event.data.push_str(value),
            "id" => self.id = Some(value.to_owned()),
            _ => {}
        }
    }

    fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = b": open\nretry: 2000\n\nevent: device\nid: 7-1\ndata: {\"a\":1}\n\n:\n\nid: 7-2\nevent: downlink\ndata: {}\n\nevent: x\ndata: {";
        for size in [1, 3, 1000] {
            let mut parser = Parser::default();
            text.chunks(size).for_each(|chunk| parser.push(chunk));
            let event = |name: &str, data: &str| Event {
                name: name.to_owned(),
                data: data.to_owned(),
            };
            assert_eq!(parser.pop(), Some(event("device", "{\"a\":1}")));
            assert_eq!(parser.pop(), Some(event("downlink", "{}")));
            assert_eq!(parser.pop(), None);
            assert_eq!(parser.last_id.as_deref(), Some("7-2"));
        }
    }
}
