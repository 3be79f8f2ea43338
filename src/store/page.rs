//! Lists by keyset: a page ends in a cursor that names its last row, so that nothing is skipped or shown twice while
//! rows come and go.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

/// How many rows a page has at the most, whatever is asked.
pub const PAGE_MAX: u32 = 1_000;

/// Which page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// How many rows, 1 to [`PAGE_MAX`]; others are brought into that range.
    pub limit: u32,
    /// Only what follows this row.
    pub after: Option<Cursor>,
}

impl PageRequest {
    /// The first page.
    pub const fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// One row more than asked: its presence tells that there is another page.
    pub(super) fn rows(self) -> i64 {
        i64::from(self.limit.clamp(1, PAGE_MAX)) + 1
    }
}

impl Default for PageRequest {
    /// 100 rows from the start.
    fn default() -> Self {
        Self::first(100)
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// Its rows.
    pub items: Vec<T>,
    /// Where the next page starts, if there is one.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Cuts the surplus row off and remembers where to go on.
    pub(super) fn of(
        mut items: Vec<T>,
        request: PageRequest,
        cursor: impl Fn(&T) -> Cursor,
    ) -> Self {
        let limit = request.limit.clamp(1, PAGE_MAX) as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }

    /// The same page of something else.
    pub(super) fn try_map<U, E>(self, of: impl FnMut(T) -> Result<U, E>) -> Result<Page<U>, E> {
        Ok(Page {
            items: self.items.into_iter().map(of).collect::<Result<_, _>>()?,
            next: self.next,
        })
    }
}

/// A row's place in a list, opaque to clients: its time and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub(super) at: Timestamp,
    pub(super) id: Uuid,
}

/// Why a text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a cursor that an earlier page gave")]
pub struct ParseCursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.at.as_millis().to_be_bytes());
        bytes[8..].copy_from_slice(self.id.as_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseCursorError)?;
        let (at, id) = bytes.split_first_chunk::<8>().ok_or(ParseCursorError)?;
        Ok(Self {
            at: Timestamp::from_millis(i64::from_be_bytes(*at)),
            id: Uuid::from_slice(id).map_err(|_| ParseCursorError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_their_text_and_others_are_refused() {
        let cursor = Cursor {
            at: Timestamp::from_millis(1_795_361_531_448),
            id: Uuid::now_v7(),
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in [
            "",
            "x",
            "AAAA",
            "äöü",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(ParseCursorError), "{text:?}");
        }
    }
}
