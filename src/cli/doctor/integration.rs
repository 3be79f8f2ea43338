//! Whether an application's events come here.

use axum::http::{HeaderName, HeaderValue};
use downbeat_actors::clock::Clock;
use downbeat_actors::port::ListedApplication;
use secrecy::ExposeSecret as _;

use super::report::Report;
use super::{DoctorArgs, chain};
use crate::chirpstack::{ChirpStackClient, HttpIntegration};
use crate::cli::connect::{Endpoint, endpoints};
use crate::config::Config;
use crate::secret_key;
use crate::store::{Role, Store};

const CHECK: &str = "integration";

/// What the paths begin with at which this service takes events.
const PATHS: [&str; 2] = ["/api/v1/webhooks/chirpstack", "/api/v1/lorawan/webhooks/"];

/// Tells whether it posts events here.
pub(super) async fn examine(
    client: &ChirpStackClient,
    application: &ListedApplication,
    arguments: &DoctorArgs,
    config: &Config,
    store: Option<&Store>,
    report: &mut Report,
) -> bool {
    let name = &application.name;
    let connect = format!(
        "downbeat connect --application {} --webhook-url http://HOST:PORT",
        application.id
    );
    let integration = match client.http_integration(application.id).await {
        Ok(Some(integration)) => integration,
        Ok(None) => {
            report.warn(CHECK, format!("application {name} has none"), connect);
            return false;
        }
        Err(error) => {
            report.unknown(
                CHECK,
                format!("application {name}: {}", chain(&error)),
                connect,
            );
            return false;
        }
    };
    let ours = endpoints(&integration)
        .filter_map(Endpoint::read)
        .find(|endpoint| match &arguments.webhook_url {
            Some(url) => endpoint.without_key == url.as_str(),
            None => PATHS.iter().any(|path| endpoint.path.starts_with(path)),
        });
    let Some(ours) = ours else {
        report.warn(
            CHECK,
            format!("application {name} posts its events elsewhere, and not here"),
            connect,
        );
        return false;
    };
    let url = &ours.without_key;
    if let Some(header) = spoilt_header(&integration) {
        report.fail(
            CHECK,
            format!("application {name}: the header {header:?} is invalid, and no event is posted to anybody"),
            "mend the header in ChirpStack",
        );
        return true;
    }
    if is_local(url) && !config.chirpstack.url.as_deref().is_some_and(is_local) {
        report.fail(
            CHECK,
            format!(
                "application {name} posts its events to {url}, which is ChirpStack's own machine"
            ),
            connect,
        );
        return true;
    }
    let Some(key) = ours.arriving_key(&integration) else {
        report.fail(
            CHECK,
            format!("application {name} posts its events to {url} without a key: they are refused"),
            connect,
        );
        return true;
    };
    let Some(store) = store else {
        report.unknown(
            CHECK,
            format!("application {name} posts its events to {url}; without a database its key cannot be judged"),
            "see to the database first",
        );
        return true;
    };
    let hash = secret_key::hash(key.expose_secret());
    match store.api_key_by_hash(&hash).await {
        Ok(Some(key))
            if key.is_valid_at(Clock::system().now())
                && matches!(key.role, Role::Webhook | Role::Admin) =>
        {
            report.ok(
                CHECK,
                format!("application {name} posts its events to {url} with a key that is good"),
            );
        }
        Ok(Some(_)) => report.fail(
            CHECK,
            format!("application {name} posts its events to {url} with a key that was taken back or may not deliver"),
            connect,
        ),
        Ok(None) => report.fail(
            CHECK,
            format!("application {name} posts its events to {url} with a key that is not known here"),
            connect,
        ),
        Err(error) => report.unknown(CHECK, chain(&error), "see to the database first"),
    }
    true
}

fn spoilt_header(integration: &HttpIntegration) -> Option<&str> {
    let mut headers = integration.headers.iter();
    headers
        .find(|(name, value)| {
            HeaderName::try_from(name.as_str()).is_err() || HeaderValue::from_str(value).is_err()
        })
        .map(|(name, _)| name.as_str())
}

/// Whether a URL names the machine that calls it.
fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"]
        .iter()
        .any(|host| rest.starts_with(host))
}
