//! The Downbeat under load, as its clients see it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use uuid::Uuid;

use super::wire::Answer;

/// What the tag of a device says of the run that made it, so that a run counts and removes its own.
pub(super) const TAG: &str = "loadtest";

/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_mins(3);

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The HTTP client.
    #[error("the HTTP client could not be made")]
    Client(#[source] reqwest::Error),
    /// A request without which there is no run.
    #[error("{what}: {why}")]
    Failed {
        /// What was tried.
        what: String,
        /// The answer.
        why: String,
    },
    /// Something did not happen in time.
    #[error("not within {patience:?}: {what}")]
    TooLate {
        /// What was waited for.
        what: String,
        /// How long.
        patience: Duration,
    },
}

impl LoadError {
    /// Names what failed.
    pub(super) fn of(what: impl Into<String>) -> impl FnOnce(String) -> Self {
        let what = what.into();
        |why| Self::Failed { what, why }
    }
}

/// One Downbeat, one key, one tenant, one run.
#[derive(Debug, Clone)]
pub(super) struct Target {
    client: Client,
    url: Url,
    key: Arc<SecretString>,
    /// The tenant's id or name.
    tenant: String,
    /// Different in each run.
    run: Uuid,
}

impl Target {
    pub(super) fn new(
        url: Url,
        key: SecretString,
        tenant: String,
        connections: usize,
    ) -> Result<Self, LoadError> {
        let client = Client::builder()
            .pool_max_idle_per_host(connections)
            .tcp_nodelay(true)
            .build()
            .map_err(LoadError::Client)?;
        Ok(Self {
            client,
            url,
            key: Arc::new(key),
            tenant,
            run: Uuid::now_v7(),
        })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// How requests say who makes them.
    pub(super) fn authorization(&self) -> SecretString {
        SecretString::from(format!("Bearer {}", self.key.expose_secret()))
    }

    /// The run, as it stands in the tag of its devices.
    pub(super) fn run(&self) -> String {
        self.run.simple().to_string()
    }

    /// The tenant's id or name.
    pub(super) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The `DevEUI` of a device of this run: the run's random digits and the number.
    pub(super) fn dev_eui(&self, number: u64) -> String {
        let (_, random) = self.run.as_u64_pair();
        format!("{:08x}{number:08x}", random & 0xffff_ffff)
    }

    /// A request to a path with a query.
    pub(super) fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let root = self.url.as_str().trim_end_matches('/');
        self.client
            .request(method, format!("{root}{path}"))
            .bearer_auth(self.key.expose_secret())
    }

    /// The same about the tenant.
    pub(super) fn of_tenant(&self, method: Method, path: &str) -> RequestBuilder {
        self.call(method, &format!("/api/v1/tenants/{}{path}", self.tenant))
    }

    /// All of a list whose pages hold them under `name`.
    pub(super) async fn all(&self, path: &str, name: &str) -> Result<Vec<Value>, LoadError> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        let separator = if path.contains('?') { '&' } else { '?' };
        loop {
            let path = format!("{path}{separator}limit=1000{cursor}");
            let page = answered(self.call(Method::GET, &path), StatusCode::OK).await;
            let mut page = page.map_err(LoadError::of(format!("reading {path}")))?;
            if let Some(rows) = page[name].as_array_mut() {
                all.append(rows);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// The devices of this run.
    pub(super) async fn devices(&self) -> Result<Vec<Value>, LoadError> {
        let run = self.run();
        let path = format!("/api/v1/tenants/{}/devices?tag={TAG}:{run}", self.tenant);
        self.all(&path, "devices").await
    }

    /// The server's own figures; nothing where the key may not see them.
    pub(super) async fn metrics(&self) -> Option<String> {
        let answer = self.call(Method::GET, "/metrics").send().await.ok()?;
        let answer = answer.error_for_status().ok()?;
        answer.text().await.ok()
    }
}

/// A whole answer, whatever it says.
pub(super) async fn answer_of(request: RequestBuilder) -> Result<Answer, String> {
    let answer = request.timeout(PATIENCE).send().await;
    let answer = answer.map_err(|error| in_words(&error))?;
    Ok(Answer {
        status: answer.status(),
        says_when: answer.headers().contains_key(RETRY_AFTER),
        body: answer
            .bytes()
            .await
            .map_err(|error| in_words(&error))?
            .to_vec(),
    })
}

/// The body of an answer with the right status. The whole of it is read, because a list that was not read is not done; but
/// it is not taken apart, because callers do that on machines of their own.
pub(super) async fn body_of(
    request: RequestBuilder,
    expected: StatusCode,
) -> Result<Vec<u8>, String> {
    let Answer { status, body, .. } = answer_of(request).await?;
    // 202 and 200 both say that a command is accepted; whoever expects one is content with the other.
    let is_accepted = expected == StatusCode::ACCEPTED && status == StatusCode::OK;
    if status != expected && !is_accepted {
        let words = String::from_utf8_lossy(&body);
        return Err(format!("{status}: {words}"));
    }
    Ok(body)
}

/// The same as JSON; null where there is none.
pub(super) async fn answered(
    request: RequestBuilder,
    expected: StatusCode,
) -> Result<Value, String> {
    let body = body_of(request, expected).await?;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

/// An error with its causes.
pub(super) fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
