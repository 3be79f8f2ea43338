//! The API's description, OpenAPI 3.1.

use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::auth::SESSION_COOKIE;

/// What no operation says by itself.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Downbeat",
        description = "Gets a command to a LoRaWAN device behind ChirpStack and proves that it arrived.\n\n\
            Times are RFC 3339 in UTC, DevEUIs and gateway ids 16 hex digits. Every refusal is `application/problem+json` \
            with a stable `type`.",
    ),
    modifiers(&Keys),
    security(("key" = []), ("session" = [])),
    tags(
        (name = "commands", description = "Tell devices something and see what became of it"),
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

/// The whole description as JSON, as `GET /api/openapi.json` answers it.
///
/// # Panics
/// Never: a description is JSON.
pub fn openapi_json() -> String {
    let document = super::router::routes().document;
    document.to_pretty_json().expect("a description is JSON")
}
