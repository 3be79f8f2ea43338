//! The log as a file: read and sent page by page, so that its length costs no memory.

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use downbeat_actors::port::StoreError;
use downbeat_core::id::Scope;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::OwnedSemaphorePermit;

use crate::http::AppState;
use crate::http::problem::ApiError;
use crate::store::{AuditEntry, AuditFilter, Cursor, Page, PageRequest};

use super::{AuditEntryBody, csv};

/// Rows that are read at once.
const ROWS: u32 = 500;

/// In which form the log is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One page.
    Json,
    /// Everything.
    Lines(Lines),
}

/// A form with an entry a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    Ndjson,
    Csv,
}

impl Format {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "ndjson" => Some(Self::Lines(Lines::Ndjson)),
            "csv" => Some(Self::Lines(Lines::Csv)),
            _ => None,
        }
    }

    /// The first form that the header names; a page of JSON if it names none.
    pub(super) fn accepted(accept: Option<&HeaderValue>) -> Self {
        let text = accept.and_then(|it| it.to_str().ok()).unwrap_or_default();
        let named = text.split(',').find_map(|range| {
            let media_type = range.split(';').next().unwrap_or_default().trim();
            match media_type.to_ascii_lowercase().as_str() {
                "application/json" | "*/*" => Some(Self::Json),
                "application/x-ndjson" | "application/jsonl" => Some(Self::Lines(Lines::Ndjson)),
                "text/csv" => Some(Self::Lines(Lines::Csv)),
                _ => None,
            }
        });
        named.unwrap_or(Self::Json)
    }
}

impl Lines {
    fn head(self) -> Result<Vec<u8>, LineError> {
        match self {
            Self::Ndjson => Ok(Vec::new()),
            Self::Csv => csv_rows(std::iter::once(csv::HEADER.map(str::to_owned))),
        }
    }

    fn rows(self, entries: Vec<AuditEntry>) -> Result<Vec<u8>, LineError> {
        let entries = entries.into_iter().map(AuditEntryBody::new);
        match self {
            Self::Ndjson => {
                let mut text = Vec::new();
                for entry in entries {
                    serde_json::to_writer(&mut text, &entry)?;
                    text.push(b'\n');
                }
                Ok(text)
            }
            Self::Csv => csv_rows(entries.map(|entry| csv::cells(&entry))),
        }
    }

    const fn headers(self) -> (&'static str, &'static str) {
        match self {
            Self::Ndjson => (
                "application/x-ndjson",
                "attachment; filename=\"audit.ndjson\"",
            ),
            Self::Csv => (
                "text/csv; charset=utf-8",
                "attachment; filename=\"audit.csv\"",
            ),
        }
    }
}

fn csv_rows(rows: impl Iterator<Item = [String; 11]>) -> Result<Vec<u8>, LineError> {
    let mut writer = ::csv::WriterBuilder::new()
        .terminator(::csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for row in rows {
        writer.write_record(row)?;
    }
    writer
        .into_inner()
        .map_err(|error| LineError::Csv(error.into_error().into()))
}

/// Why the rest of a file is not sent.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Csv(#[from] ::csv::Error),
}

/// Everything from a place on. The first page is read before anything is answered, so that a database that is away is
/// told as ever; one that goes away later breaks the connection, so that nobody takes half a log for a whole one.
pub(super) async fn all(
    state: &AppState,
    scope: Scope,
    filter: AuditFilter,
    after: Option<Cursor>,
    lines: Lines,
) -> Result<Response, ApiError> {
    let place = state.admission().stream()?;
    let request = PageRequest { limit: ROWS, after };
    let first = state.store().list_audit(scope, &filter, request).await?;
    let internal = |error: LineError| ApiError::Internal(Box::new(error));
    let head = lines.head().map_err(internal)?;
    let reader = Reader {
        state: state.clone(),
        scope,
        filter,
        lines,
        next: Next::Rows { head, page: first },
        _place: place,
    };
    let (media_type, disposition) = lines.headers();
    let headers = [
        (CONTENT_TYPE, media_type),
        (CONTENT_DISPOSITION, disposition),
    ];
    // Compression asks once more after the end.
    let chunks = reader.chunks().fuse();
    Ok((headers, Body::from_stream(chunks)).into_response())
}

struct Reader {
    state: AppState,
    scope: Scope,
    filter: AuditFilter,
    lines: Lines,
    next: Next,
    _place: OwnedSemaphorePermit,
}

enum Next {
    Rows {
        head: Vec<u8>,
        page: Page<AuditEntry>,
    },
    After(Cursor),
    End,
}

impl Reader {
    fn chunks(self) -> impl Stream<Item = Result<Bytes, LineError>> {
        stream::unfold(self, |mut reader| async move {
            let chunk = reader.chunk().await.transpose()?;
            if let Err(error) = &chunk {
                tracing::warn!(%error, "audit.export.broken");
            }
            Some((chunk, reader))
        })
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, LineError> {
        let (mut text, page) = match std::mem::replace(&mut self.next, Next::End) {
            Next::End => return Ok(None),
            Next::Rows { head, page } => (head, page),
            Next::After(cursor) => {
                let request = PageRequest {
                    limit: ROWS,
                    after: Some(cursor),
                };
                let store = self.state.store();
                let page = store.list_audit(self.scope, &self.filter, request).await?;
                (Vec::new(), page)
            }
        };
        self.next = page.next.map_or(Next::End, Next::After);
        text.extend(self.lines.rows(page.items)?);
        Ok(Some(Bytes::from(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_first_that_is_accepted() {
        let accepted = |text: &'static str| Format::accepted(Some(&HeaderValue::from_static(text)));
        assert_eq!(Format::accepted(None), Format::Json);
        assert_eq!(accepted("*/*"), Format::Json);
        assert_eq!(
            accepted("text/html, text/csv;q=0.9"),
            Format::Lines(Lines::Csv)
        );
        assert_eq!(
            accepted("Application/X-NDJSON, */*"),
            Format::Lines(Lines::Ndjson)
        );
        assert_eq!(accepted("image/png"), Format::Json);
    }
}
