//! The API's description, OpenAPI 3.1.

use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::auth::SESSION_COOKIE;

const JSON: &str = "application/json";

/// The media type of refusals (RFC 9457).
const PROBLEM_JSON: &str = "application/problem+json";

/// What no operation says by itself.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Downbeat",
        description = "Gets a command to a LoRaWAN device behind ChirpStack and proves that it arrived.\n\n\
            Times are RFC 3339 in UTC, DevEUIs and gateway ids 16 hex digits. Every refusal is `application/problem+json` \
            with a stable `type`.\n\nEvery answer to a key tells `RateLimit-Limit`, `RateLimit-Remaining` and \
            `RateLimit-Reset`: requests of a minute, those left, and seconds until all are there again.",
    ),
    modifiers(&Keys),
    security(("key" = []), ("session" = [])),
    tags(
        (name = "tenants", description = "Who uses the service, and what each may use of it"),
        (name = "keys", description = "API keys"),
        (name = "network server", description = "A tenant's own ChirpStack"),
        (name = "audit", description = "Who changed what"),
        (name = "commands", description = "Tell devices something and see what became of it"),
        (name = "jobs", description = "Tell many devices something"),
        (name = "devices", description = "The registry"),
        (name = "gateways", description = "Which gateways are there"),
        (name = "metrics", description = "Figures"),
        (name = "live", description = "What happens, as it happens"),
        (name = "webhooks", description = "For ChirpStack"),
        (name = "session", description = "For browsers"),
        (name = "health", description = "For whoever starts and watches the service"),
    ),
)]
pub(super) struct ApiDoc;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key"))
            .build();
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
        let cookie = ApiKey::Cookie(ApiKeyValue::new(SESSION_COOKIE));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// What an operation may answer beside what it says itself, by what it is: told here once, so that none is forgotten.
pub(super) fn tell_common_answers(document: &mut Document) {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            name_problems(operation);
            let is_open = matches!(path.as_str(), "/healthz" | "/readyz");
            if !is_open {
                for (status, words) in common_answers(operation) {
                    tell(operation, status, words);
                }
            }
        }
    }
}

fn common_answers(operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let parameters: Vec<_> = parameters
        .iter()
        .filter_map(|it| match it {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        })
        .collect();
    let has = |place: &ParameterIn| parameters.iter().any(|it| it.parameter_in == *place);
    let has_header = |name: &str| {
        let mut headers = parameters
            .iter()
            .filter(|it| it.parameter_in == ParameterIn::Header);
        headers.any(|it| it.name.eq_ignore_ascii_case(name))
    };
    let has_body = operation.request_body.is_some();
    let mut answers = vec![
        ("401", "No key, or none that works"),
        ("403", "The key may not do this"),
        (
            "429",
            "The key asks too often; `Retry-After` tells when to try again",
        ),
        (
            "503",
            "Nothing was done: the service is full, is stopping, or cannot reach its database",
        ),
    ];
    if has(&ParameterIn::Path) {
        answers.push(("404", "No such thing, or another tenant's"));
    }
    if has_body || !parameters.is_empty() {
        answers.push(("400", "A field is wrong"));
    }
    if has_body {
        answers.push(("413", "The body has more than 1 MiB"));
        answers.push(("415", "The body is of another type"));
    }
    if has_header("If-Match") {
        answers.push(("412", "It was changed meanwhile"));
    }
    if has_header("Idempotency-Key") {
        answers.push(("409", "The same request is in progress"));
        answers.push(("422", "The Idempotency-Key was used with another body"));
    }
    answers
}

/// Gives refusals that an operation tells itself the media type that they are sent in.
fn name_problems(operation: &mut Operation) {
    for answer in operation.responses.responses.values_mut() {
        let RefOr::T(answer) = answer else {
            continue;
        };
        let is_problem = match answer.content.get(JSON) {
            Some(RefOr::T(content)) => match &content.schema {
                Some(RefOr::Ref(schema)) => schema.ref_location.ends_with("/Problem"),
                Some(RefOr::T(_)) | None => false,
            },
            Some(RefOr::Ref(_)) | None => false,
        };
        if is_problem && let Some(content) = answer.content.shift_remove(JSON) {
            answer.content.insert(PROBLEM_JSON.to_owned(), content);
        }
    }
}

fn tell(operation: &mut Operation, status: &str, words: &str) {
    let problem = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let answer = ResponseBuilder::new()
        .description(words)
        .content(PROBLEM_JSON, problem)
        .build();
    let answers = &mut operation.responses.responses;
    answers.entry(status.to_owned()).or_insert(answer.into());
}

/// The whole description as JSON, as `GET /api/openapi.json` answers it.
///
/// # Panics
/// Never: a description is JSON.
pub fn openapi_json() -> String {
    let document = super::router::routes().document;
    document.to_pretty_json().expect("a description is JSON")
}
