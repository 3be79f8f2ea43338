//! ChirpStack's HTTP integration: one task and one attempt for each event, five seconds, no order, no second try.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::body::{self, About, Body};
use super::world::{Encoding, HttpIntegration, World};
use crate::model::Webhook;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Posts events to whatever the integration says at that moment.
#[derive(Debug)]
pub(super) struct Poster {
    world: Arc<World>,
    client: reqwest::Client,
}

impl Poster {
    pub(super) fn new(world: Arc<World>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .build()?;
        Ok(Self { world, client })
    }

    /// Posts one event; what becomes of it is nobody's business.
    pub(super) fn post(&self, webhook: &Webhook) {
        self.world.log(webhook);
        let Some(integration) = self.world.integration() else {
            return;
        };
        let Some(body) = self.write(webhook, integration.encoding) else {
            return;
        };
        tokio::spawn(deliver(self.client.clone(), integration, body));
    }

    fn write(&self, webhook: &Webhook, encoding: Encoding) -> Option<Body> {
        // A device that was deleted meanwhile is told of by nobody.
        let (device_name, tags) = self.world.drive(|network, _| {
            let fields = &network.registered(webhook.dev_eui)?.fields;
            Some((fields.name.clone(), fields.tags.clone()))
        })?;
        let about = About {
            identity: &self.world.identity,
            device_name: &device_name,
            tags: &tags,
            clock: self.world.clock,
        };
        body::write(webhook, about, encoding)
    }
}

/// Several URLs are called one after another, each for itself.
async fn deliver(client: reqwest::Client, integration: HttpIntegration, body: Body) {
    let content_type = match integration.encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => "application/octet-stream",
    };
    let Some(headers) = headers(&integration.headers, content_type) else {
        tracing::warn!("an event is lost: a header is invalid");
        return;
    };
    for url in integration
        .url
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
    {
        let Ok(mut url) = reqwest::Url::parse(url) else {
            tracing::warn!(url, "an event is lost: this is no URL");
            continue;
        };
        url.query_pairs_mut().append_pair("event", body.event);
        // A name and password in the URL become an Authorization header, which one of the integration replaces.
        let request = client.post(url).headers(headers.clone());
        match request
            .body(body.bytes.clone())
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
        {
            Ok(_) => tracing::debug!(event = body.event, "posted an event"),
            Err(error) => {
                tracing::warn!(
                    event = body.event,
                    error = &error as &dyn std::error::Error,
                    "an event is lost"
                );
            }
        }
    }
}

/// One that is invalid spoils all.
fn headers(configured: &BTreeMap<String, String>, content_type: &'static str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in configured {
        headers.insert(HeaderName::try_from(name).ok()?, value.parse().ok()?);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Some(headers)
}
