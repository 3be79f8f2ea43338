//! The body of an import as records, read as it arrives.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use futures_util::StreamExt as _;

use crate::csv::{Record, Records};
use crate::http::problem::ApiError;

/// The largest file.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// The most records of a file, its header included.
const RECORDS_MAX: u64 = 200_001;

/// A piece of the file arrives within this, or the file ends there.
const PATIENCE: Duration = Duration::from_secs(20);

/// A file that is being received.
pub(super) struct File {
    body: BodyDataStream,
    records: Records,
    bytes: u64,
    count: u64,
}

/// Why a file cannot be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FileError {
    #[error("the file has more than 64 MiB")]
    TooLarge,
    #[error("the file has more than 200000 lines")]
    TooLong,
    #[error("the file did not arrive whole, or not in time")]
    Broken,
}

impl File {
    /// The file in a request's body. One that says itself that it is too large is refused.
    pub(super) fn of(headers: &HeaderMap, body: Body) -> Result<Self, ApiError> {
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok());
        let length: Option<u64> = length.and_then(|text| text.parse().ok());
        if length.is_some_and(|length| length > FILE_MAX) {
            return Err(ApiError::FileTooLarge);
        }
        Ok(Self {
            body: body.into_data_stream(),
            records: Records::default(),
            bytes: 0,
            count: 0,
        })
    }

    /// The next record; `None` at the end.
    pub(super) async fn next_record(&mut self) -> Result<Option<Record>, FileError> {
        loop {
            if let Some(record) = self.records.next_record() {
                self.count += 1;
                if self.count > RECORDS_MAX {
                    return Err(FileError::TooLong);
                }
                return Ok(Some(record));
            }
            match tokio::time::timeout(PATIENCE, self.body.next()).await {
                Ok(Some(Ok(piece))) => {
                    self.bytes += piece.len() as u64;
                    if self.bytes > FILE_MAX {
                        return Err(FileError::TooLarge);
                    }
                    self.records.push(&piece);
                }
                Ok(None) if self.records.is_complete() => return Ok(None),
                Ok(None) => self.records.complete(),
                Ok(Some(Err(_))) | Err(_) => return Err(FileError::Broken),
            }
        }
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::TooLarge | FileError::TooLong => Self::FileTooLarge,
            FileError::Broken => Self::BodyUnreadable,
        }
    }
}
