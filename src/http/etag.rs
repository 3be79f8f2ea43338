//! Versions of registry objects as `ETag`, and `If-Match` (RFC 9110 §13.1.1): nobody overwrites what another changed.
//!
//! A change may come without `If-Match`; then the newest word wins.

use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

use super::problem::ApiError;

/// How long an `If-Match` may be.
const IF_MATCH_MAX: usize = 1_000;

/// The header that tells a version.
pub(super) fn etag(version: u32) -> [(HeaderName, String); 1] {
    [(ETAG, format!("\"{version}\""))]
}

/// Which versions a caller is ready to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// Whichever there is: no header, or `*`.
    Any,
    /// One of these. A tag that is none of ours, a weak one among them, matches nothing.
    Versions(Vec<u32>),
}

impl IfMatch {
    /// What to tell the store: the version that has to be there when it changes, or `None` if any will do. `current` is
    /// the version just read; another is refused.
    pub(super) fn demand(&self, current: u32) -> Result<Option<u32>, ApiError> {
        match self {
            Self::Any => Ok(None),
            Self::Versions(versions) if versions.contains(&current) => Ok(Some(current)),
            Self::Versions(_) => Err(ApiError::VersionMismatch { current }),
        }
    }

    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut versions = Vec::new();
        let mut is_any = true;
        for value in headers.get_all(IF_MATCH) {
            let text = value.to_str().ok().filter(|it| it.len() <= IF_MATCH_MAX);
            let text = text.ok_or_else(malformed)?.trim();
            if text == "*" {
                return Ok(Self::Any);
            }
            is_any = false;
            for tag in text.split(',') {
                versions.extend(version(tag.trim())?);
            }
        }
        if is_any {
            return Ok(Self::Any);
        }
        Ok(Self::Versions(versions))
    }
}

/// The version that a tag names; `None` for one that cannot match.
fn version(tag: &str) -> Result<Option<u32>, ApiError> {
    let (opaque, is_weak) = match tag.strip_prefix("W/") {
        Some(rest) => (rest, true),
        None => (tag, false),
    };
    let opaque = opaque.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let opaque = opaque.ok_or_else(malformed)?;
    let version = opaque.parse().ok().filter(|_| !is_weak);
    // Another spelling of the number is another tag.
    Ok(version.filter(|it: &u32| it.to_string() == opaque))
}

fn malformed() -> ApiError {
    ApiError::field(
        "If-Match",
        "must be * or ETags in quotation marks, with commas between them",
    )
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<IfMatch, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, value.parse().unwrap());
        }
        IfMatch::of(&headers)
    }

    #[test]
    fn if_match_is_read_as_the_standard_has_it() {
        assert_eq!(read(&[]).unwrap(), IfMatch::Any);
        assert_eq!(read(&["*"]).unwrap(), IfMatch::Any);
        for (values, versions) in [
            (&["\"3\""][..], vec![3]),
            (&["\"3\", \"4\"", "\"5\""], vec![3, 4, 5]),
            (&["W/\"3\""], vec![]),
            (&["\"abc\", \"3\""], vec![3]),
            (&["\"03\", \"+3\", \"\""], vec![]),
            (&["\"4294967296\""], vec![]),
        ] {
            assert_eq!(
                read(values).unwrap(),
                IfMatch::Versions(versions),
                "{values:?}"
            );
        }
        for value in ["", "3", "\"3", "\"3\" \"4\",", "\"3\",", "w/\"3\"", "\""] {
            assert!(read(&[value]).is_err(), "{value}");
        }
    }

    #[test]
    fn only_a_version_that_is_named_may_be_changed() {
        let named = IfMatch::Versions(vec![3, 5]);
        assert_eq!(IfMatch::Any.demand(3).unwrap(), None);
        assert_eq!(named.demand(5).unwrap(), Some(5));
        assert!(matches!(
            named.demand(4),
            Err(ApiError::VersionMismatch { current: 4 })
        ));
    }
}
