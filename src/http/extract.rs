//! Bodies, queries and paths, checked: what is wrong is named.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Visitor};

use crate::store::{PAGE_MAX, PageRequest};

use super::problem::{ApiError, FieldError};

/// The largest body that is read: 1 MiB.
pub(super) const BODY_MAX: usize = 1024 * 1024;

/// A body arrives within this, or not at all.
const BODY_PATIENCE: Duration = Duration::from_secs(20);

/// The longest step, seconds: 31 days.
const STEP_MAX_S: u64 = 31 * 24 * 3600;

/// A whole body, of at most [`BODY_MAX`] bytes.
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match tokio::time::timeout(BODY_PATIENCE, Bytes::from_request(request, state)).await {
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(rejection)) => {
                let status = rejection.into_response().status();
                Err(if status == StatusCode::PAYLOAD_TOO_LARGE {
                    ApiError::BodyTooLarge
                } else {
                    ApiError::BodyUnreadable
                })
            }
            Err(_) => Err(ApiError::BodyUnreadable),
        }
    }
}

/// A JSON body, with the bytes it was read from.
pub(super) struct JsonBody<T> {
    pub(super) value: T,
    pub(super) bytes: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        const EXPECTED: &str = "application/json";
        if media_type(request.headers()).as_deref() != Some(EXPECTED) {
            return Err(ApiError::UnsupportedMediaType { expected: EXPECTED });
        }
        let Body(bytes) = Body::from_request(request, state).await?;
        let value = parse_json(&bytes)?;
        Ok(Self { value, bytes })
    }
}

/// A JSON body that changes what it names, and nothing else (JSON merge patch, RFC 7396): null clears a field.
pub(super) struct PatchBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for PatchBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match media_type(request.headers()).as_deref() {
            Some("application/merge-patch+json" | "application/json") => {}
            Some(_) | None => {
                return Err(ApiError::UnsupportedMediaType {
                    expected: "application/merge-patch+json or application/json",
                });
            }
        }
        let Body(bytes) = Body::from_request(request, state).await?;
        Ok(Self(parse_json(&bytes)?))
    }
}

/// What becomes of a field in a merge patch. The field needs `#[serde(default)]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Patch<T> {
    /// It is not named: it stays.
    #[default]
    Keep,
    /// It is null: it is cleared.
    Clear,
    /// It becomes this.
    Set(T),
}

impl<T> Patch<T> {
    /// What the field holds afterwards.
    pub(super) fn over(self, current: Option<T>) -> Option<T> {
        match self {
            Self::Keep => current,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::deserialize(deserializer)?;
        Ok(value.map_or(Self::Clear, Self::Set))
    }
}

/// The content type without its parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = value.split(';').next().unwrap_or_default();
    Some(media_type.trim().to_ascii_lowercase())
}

/// Reads a JSON body, always an object. A value of the wrong kind names its field; what is no JSON at all tells where it
/// ceases to be.
fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer);
    // An array would be read as the fields in their order, which nobody means.
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    let value = match value {
        Err(error) if is_object || !error.inner().is_data() => {
            return Err(json_error(&error.path().to_string(), error.inner()));
        }
        Ok(value) if is_object => value,
        Ok(_) | Err(_) => {
            return Err(ApiError::Malformed(
                "The body has to be a JSON object.".to_owned(),
            ));
        }
    };
    deserializer
        .end()
        .map_err(|error| json_error(".", &error))?;
    Ok(value)
}

fn json_error(path: &str, error: &serde_json::Error) -> ApiError {
    if !error.is_data() {
        return ApiError::Malformed(format!("The body is not JSON: {error}."));
    }
    let text = error.to_string();
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message);
    // A missing, unknown or repeated field is reported of what holds it, and named between backticks.
    let named = message.split('`').nth(1);
    match named {
        Some(name) if message.starts_with("missing field") => ApiError::field(name, "is missing"),
        Some(name) if message.starts_with("duplicate field") => {
            ApiError::field(name, "is there twice")
        }
        Some(name) if message.starts_with("unknown field") => ApiError::field(
            name,
            message.replacen(&format!("unknown field `{name}`"), "is not a field", 1),
        ),
        _ if path == "." => ApiError::Malformed(format!("The body is not as expected: {message}.")),
        _ => ApiError::field(path, message),
    }
}

/// A query. Fields are texts, checked by [`Fields`], so that every wrong one is named; unknown ones are refused.
pub(super) struct QueryFields<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryFields<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let message = text.rsplit_once("query string: ").map_or(&*text, |it| it.1);
                Err(match message.split('`').nth(1) {
                    Some(name) => {
                        ApiError::field(name, "is not a field of the query, or is there twice")
                    }
                    None => ApiError::field("query", message),
                })
            }
        }
    }
}

/// A part of the path as an identifier.
pub(super) fn path_field<T>(field: &str, text: &str) -> Result<T, ApiError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let parsed = text.parse();
    parsed.map_err(|error| ApiError::field(field, error_words(&error)))
}

/// Errors of identifiers say "must be ..."; a UUID's own error does not say what it has to be.
fn error_words(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    if text.starts_with("must be") {
        text
    } else {
        "must be a UUID".to_owned()
    }
}

/// Characters of a name at the most.
pub(super) const NAME_MAX: usize = 100;

/// Collects what is wrong with the fields of a request, to name all of it at once.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<FieldError>);

impl Fields {
    /// How many are wrong so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Notes a wrong field.
    pub(super) fn wrong(&mut self, field: impl Into<String>, message: impl Into<String>) {
        let (field, message) = (field.into(), message.into());
        self.0.push(FieldError { field, message });
    }

    /// Notes a field unless it is as it has to be.
    pub(super) fn check(&mut self, holds: bool, field: &str, message: &str) {
        if !holds {
            self.wrong(field, message);
        }
    }

    /// A field that may be absent, read by its type; `None` also when it is wrong.
    pub(super) fn parsed<T>(&mut self, field: &str, text: Option<&str>) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        match text?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(field, error_words(&error));
                None
            }
        }
    }

    /// A name for people, without spaces around it.
    pub(super) fn name(&mut self, field: &str, text: &str) -> String {
        let name = text.trim();
        let is_plain = !name.chars().any(char::is_control);
        self.check(
            is_plain && (1..=NAME_MAX).contains(&name.chars().count()),
            field,
            "must have 1 to 100 characters, none of them a control character",
        );
        name.to_owned()
    }

    /// A number of a body that may be absent, within bounds. Any integer is taken, so that it is named by its field.
    pub(super) fn within(
        &mut self,
        field: &str,
        number: Option<i64>,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let number = number?;
        let number = u32::try_from(number).ok().filter(|it| range.contains(it));
        if number.is_none() {
            self.wrong(
                field,
                format!("must be {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// A number that may be absent, within bounds.
    pub(super) fn number(
        &mut self,
        field: &str,
        text: Option<&str>,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let number = text?.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(
                field,
                format!("must be {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// Which page of a list; 100 rows if the caller does not say.
    pub(super) fn page(&mut self, limit: Option<&str>, cursor: Option<&str>) -> PageRequest {
        let limit = self.number("limit", limit, 1..=PAGE_MAX);
        PageRequest {
            limit: limit.unwrap_or(PageRequest::default().limit),
            after: self.parsed("cursor", cursor),
        }
    }

    /// An instant that may be absent, in RFC 3339.
    pub(super) fn time(
        &mut self,
        field: &str,
        text: Option<&str>,
    ) -> Option<downbeat_core::time::Timestamp> {
        let time = chrono::DateTime::parse_from_rfc3339(text?);
        if time.is_err() {
            self.wrong(
                field,
                "must be a time in RFC 3339, like 2026-01-31T12:00:00Z",
            );
        }
        time.ok().map(|time| time.to_utc().into())
    }

    /// A span that may be absent: a number of seconds, or of the unit behind it.
    pub(super) fn step(&mut self, field: &str, text: Option<&str>) -> Option<Duration> {
        let step = step(text?);
        if step.is_none() {
            self.wrong(field, "must be 1 s to 31 days, like 60s, 5m, 1h, 1d or 60");
        }
        step
    }

    /// Whether a field was noted.
    #[cfg(test)]
    pub(super) fn has_wrong(&self) -> bool {
        !self.0.is_empty()
    }

    /// The value, if nothing was wrong.
    pub(super) fn done<T>(self, value: T) -> Result<T, ApiError> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(ApiError::Invalid(self.0))
        }
    }
}

/// A span: a number of seconds, or of the unit behind it.
fn step(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unit_s = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => 1,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit_s)?;
    (1..=STEP_MAX_S)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

/// An integer from 0 to 255, refused in those words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[schema(value_type = u8, minimum = 0, maximum = 255)]
pub(super) struct Level(pub(super) u8);

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LevelVisitor;
        impl Visitor<'_> for LevelVisitor {
            type Value = Level;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an integer from 0 to 255")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Level, E> {
                let level = u8::try_from(number).map(Level);
                level.map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_u8(LevelVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read is looked at")]
    struct Sample {
        red: Level,
        deep: Option<Vec<Level>>,
    }

    #[test]
    fn a_patch_tells_absent_from_null() {
        #[derive(Deserialize)]
        struct Sample {
            #[serde(default)]
            limit: Patch<u8>,
        }
        let read = |body: &str| serde_json::from_str::<Sample>(body).unwrap().limit;
        assert_eq!(read("{}").over(Some(1)), Some(1));
        assert_eq!(read(r#"{"limit":null}"#).over(Some(1)), None);
        assert_eq!(read(r#"{"limit":2}"#).over(Some(1)), Some(2));
        assert_eq!(read("{}"), Patch::Keep);
    }

    #[test]
    fn steps_are_read_with_their_units_and_bounded() {
        for (text, seconds) in [
            ("60", 60),
            ("60s", 60),
            ("5m", 300),
            ("1h", 3600),
            ("31d", STEP_MAX_S),
        ] {
            assert_eq!(step(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "0",
            "0h",
            "-1",
            "+1",
            "1.5h",
            "32d",
            "1w",
            "1 h",
            "99999999999999999999d",
        ] {
            assert_eq!(step(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_body_is_named() {
        let said = |body: &str| match parse_json::<Sample>(body.as_bytes()) {
            Err(ApiError::Invalid(errors)) => {
                format!("{}: {}", errors[0].field, errors[0].message)
            }
            Err(ApiError::Malformed(what)) => what,
            other => format!("{other:?}"),
        };
        let bodies = [
            "",
            "{",
            "[]",
            " [1]",
            "null",
            "{}",
            r#"{"red":256}"#,
            r#"{"red":-1}"#,
            r#"{"red":1.0}"#,
            r#"{"red":"1"}"#,
            r#"{"red":null}"#,
            r#"{"red":1e400}"#,
            r#"{"red":1,"colour":2}"#,
            r#"{"red":1,"deep":[1,300]}"#,
            r#"{"red":1} x"#,
            r#"{"red":1,"red":2}"#,
        ];
        let said: Vec<String> = bodies
            .iter()
            .map(|body| format!("{body} -> {}", said(body)))
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
