//! HTTP/1.1 with as little work as can be: a connection that is kept, one POST after the other.
//!
//! A client that is made for everything takes about as much of a processor for a request as a bare server does to answer
//! it. Where requests a second are measured, this one leaves more of the machine to the server, and says less of itself.

use axum::http::StatusCode;
use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer's head that is longer is none of Downbeat's.
const HEAD_MAX: usize = 16 * 1024;

/// An answer's body that is longer is none of Downbeat's.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// A connection to one server, opened when it is first used, and anew after the server closed it.
#[derive(Debug)]
pub(super) struct Wire {
    /// Host and port.
    address: String,
    /// The request's first lines, as far as they are always the same.
    head: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Whether it names a time to come again.
    pub(super) says_when: bool,
    pub(super) body: Vec<u8>,
}

impl Wire {
    /// To a path with a query of a server; `headers` go along with each request. `None` if it is not plain HTTP.
    pub(super) fn to(url: &Url, path: &str, headers: &[(&str, &str)]) -> Option<Self> {
        if url.scheme() != "http" {
            return None;
        }
        let address = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        let root = url.path().trim_end_matches('/');
        let mut head = format!("POST {root}{path} HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        Some(Self {
            address,
            head,
            stream: None,
            buffer: Vec::new(),
        })
    }

    /// Posts a body and waits for the answer.
    pub(super) async fn post(&mut self, body: &[u8]) -> Result<Answer, String> {
        let answer = self.exchange(body).await;
        if answer.is_err() {
            self.stream = None;
        }
        answer.map_err(|error| error.to_string())
    }

    async fn exchange(&mut self, body: &[u8]) -> std::io::Result<Answer> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(&self.address).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(self.head.as_bytes());
        let length = format!("content-length: {}\r\n\r\n", body.len());
        self.buffer.extend_from_slice(length.as_bytes());
        self.buffer.extend_from_slice(body);
        stream.write_all(&self.buffer).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(head) = Head::of(&self.buffer)? {
                break head;
            }
            if self.buffer.len() > HEAD_MAX || stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(broken("the connection ended within an answer"));
            }
        };
        let end = head.length + head.body_length;
        while self.buffer.len() < end {
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(broken("the connection ended within an answer"));
            }
        }
        if head.closes {
            self.stream = None;
        }
        Ok(Answer {
            status: head.status,
            says_when: head.says_when,
            body: self.buffer[head.length..end].to_vec(),
        })
    }
}

/// What counts of an answer's first lines.
struct Head {
    /// Of itself, with the empty line.
    length: usize,
    status: StatusCode,
    body_length: usize,
    says_when: bool,
    closes: bool,
}

impl Head {
    /// Reads it; `None` if it is not all there yet.
    fn of(bytes: &[u8]) -> std::io::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| broken("no HTTP"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok());
        let mut head = Self {
            length: end + 4,
            status: status.ok_or(broken("no HTTP"))?,
            body_length: 0,
            says_when: false,
            closes: false,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let length: Option<usize> = value.parse().ok();
                let length = length.filter(|length| *length <= BODY_MAX);
                head.body_length = length.ok_or(broken("a body without a sensible length"))?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(broken("a body in chunks, which nobody asked for"));
            } else if name.eq_ignore_ascii_case("retry-after") {
                head.says_when = true;
            } else if name.eq_ignore_ascii_case("connection") {
                head.closes = value.eq_ignore_ascii_case("close");
            }
        }
        Ok(Some(head))
    }
}

fn broken(words: &'static str) -> std::io::Error {
    std::io::Error::other(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Bytes;
    use axum::http::HeaderMap;
    use axum::routing::post;

    async fn answers(headers: HeaderMap, body: Bytes) -> impl axum::response::IntoResponse {
        let closes = headers["x-end"] == "yes";
        let connection = if closes { "close" } else { "keep-alive" };
        let status = StatusCode::SERVICE_UNAVAILABLE;
        (
            status,
            [("retry-after", "1"), ("connection", connection)],
            body,
        )
    }

    #[tokio::test]
    async fn bodies_of_any_length_go_there_and_back_on_connections_kept_or_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/root/", listener.local_addr().unwrap());
        let url: Url = url.parse().unwrap();
        let app = Router::new().route("/root/x", post(answers));
        tokio::spawn(async move { axum::serve(listener, app).await });
        for end in ["no", "yes"] {
            let mut wire = Wire::to(&url, "/x", &[("x-end", end)]).unwrap();
            for length in [0, 1, 2_000, 1_000_000] {
                let body = vec![b'\n'; length];
                let answer = wire.post(&body).await.unwrap();
                assert_eq!((answer.status.as_u16(), answer.says_when), (503, true));
                assert_eq!(answer.body, body);
                assert_eq!(wire.stream.is_some(), end == "no");
            }
        }
        let away: Url = "http://127.0.0.1:1/".parse().unwrap();
        let mut wire = Wire::to(&away, "/", &[]).unwrap();
        assert!(wire.post(b"").await.is_err());
        assert!(Wire::to(&"https://x/".parse().unwrap(), "/", &[]).is_none());
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [
            "HTTP/1.1 x\r\n\r\n",
            "\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(Head::of(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        assert!(Head::of(b"HTTP/1.1 200 OK\r\n").unwrap().is_none());
    }
}
