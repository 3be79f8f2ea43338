//! `downbeat connect`: has ChirpStack post an application's events here.

mod plan;

use anyhow::{Context as _, bail};
use clap::Args;
use downbeat_actors::clock::Clock;
use downbeat_actors::port::{NetworkServer as _, NetworkServerError};
use downbeat_core::id::TenantId;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use self::plan::{KeyPlace, masked};
use super::{ConfigArgs, chirpstack, open_store, print};
use crate::chirpstack::{ChirpStackClient, HttpIntegration};
use crate::config::Config;
use crate::secret_key::{self, NewKey};
use crate::store::{ApiKey, By, Role, Scope, Store};
use crate::webhook::Encoding;

pub(in crate::cli) use self::plan::{Endpoint, WebhookUrl, endpoints};

/// Characters of a key's name at the most. An application's alone may have as many.
const KEY_NAME_MAX: usize = 100;

/// What to connect.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// ChirpStack's application, by its id or its name.
    #[arg(long)]
    application: String,
    /// Where ChirpStack reaches this service: http://HOST:PORT, or the whole URL.
    #[arg(long)]
    webhook_url: WebhookUrl,
    /// The tenant whose webhook key is made, by its name; the whole platform without.
    #[arg(long)]
    tenant: Option<String>,
    /// Take the key from this environment variable instead of making one. No database is needed then.
    #[arg(long, conflicts_with = "tenant", value_name = "VARIABLE")]
    key_env: Option<String>,
    /// Where the key is put.
    #[arg(long, value_enum, default_value_t = KeyPlace::Auto)]
    key_in: KeyPlace,
    /// Tell what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where ChirpStack and the keys are.
    #[command(flatten)]
    config: ConfigArgs,
}

/// Does it.
pub(super) async fn run(arguments: ConnectArgs) -> anyhow::Result<()> {
    let config = arguments.config.load()?.config;
    let variable = |name: &str| std::env::var(name).ok();
    print(&connect(&arguments, &config, variable).await?)
}

/// Does it, and tells what was done.
async fn connect(
    arguments: &ConnectArgs,
    config: &Config,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<String> {
    let client = chirpstack(config)?
        .context("chirpstack.url and chirpstack.api_key are needed to reach ChirpStack")?;
    let keys = match &arguments.key_env {
        Some(name) => Keys::given(
            name,
            &variable(name).with_context(|| format!("the variable {name} is not set"))?,
        )?,
        None => Keys::open(config, arguments.tenant.as_deref()).await?,
    };
    let done = settle(arguments, &client, &keys).await;
    keys.close().await;
    done
}

async fn settle(
    arguments: &ConnectArgs,
    client: &ChirpStackClient,
    keys: &Keys,
) -> anyhow::Result<String> {
    let (application_id, name) = find_application(client, &arguments.application).await?;
    let ours = &arguments.webhook_url;
    let now = client
        .http_integration(application_id)
        .await
        .context("the application's HTTP integration cannot be read")?;
    let about = format!("Application {name} ({application_id})");
    if let Some(now) = &now
        && let Some(endpoint) = plan::our_endpoint(now, ours)
        && let Some(key) = endpoint.arriving_key(now)
        && keys.is_good(&key).await?
    {
        return Ok(format!(
            "{about} posts its events to {} with a key that is good. Nothing changed.",
            ours.as_str()
        ));
    }
    let header_is_ours = match now.as_ref().and_then(plan::header_key) {
        Some(key) => keys.is_known(&key).await?,
        None => false,
    };
    // Whether it collides does not depend on the key: no key is made for nothing.
    let key = keys.fresh();
    let then = plan::connected(now.as_ref(), ours, &key, arguments.key_in, header_is_ours)?;
    let told = describe(now.as_ref(), &then, &keys.describe());
    if arguments.dry_run {
        return Ok(format!("{about} would post its events so:\n{told}"));
    }
    let application = Application {
        id: application_id,
        name,
        is_new: now.is_none(),
    };
    establish(client, keys, &application, &then, &key).await?;
    Ok(format!("{about} posts its events so:\n{told}"))
}

/// The application that is connected.
struct Application {
    id: Uuid,
    name: String,
    /// It has no HTTP integration yet.
    is_new: bool,
}

/// Keeps the key and sets the integration that holds it.
async fn establish(
    client: &ChirpStackClient,
    keys: &Keys,
    application: &Application,
    then: &HttpIntegration,
    key: &SecretString,
) -> anyhow::Result<()> {
    // Before ChirpStack has it: an event may come at once.
    let made = keys.keep(key, &application.name).await?;
    let applied = apply(client, application, then).await;
    if let (Err(error), Some(made)) = (&applied, made) {
        // A key that certainly stands nowhere is taken back.
        let is_refused = error
            .downcast_ref::<NetworkServerError>()
            .is_some_and(|error| !matches!(error, NetworkServerError::AnswerLost(_)));
        if is_refused {
            keys.take_back(&made).await?;
        }
    }
    applied
}

/// Sets the integration and reads it back: ChirpStack does not tell a writer that somebody else wrote in between.
async fn apply(
    client: &ChirpStackClient,
    application: &Application,
    then: &HttpIntegration,
) -> anyhow::Result<()> {
    let set = client
        .set_http_integration(application.id, then, application.is_new)
        .await;
    let held = match (set, client.http_integration(application.id).await) {
        (_, Ok(held)) if held.as_ref() == Some(then) => return Ok(()),
        (Err(error), _) => {
            return Err(error).context("the application's HTTP integration cannot be set");
        }
        (Ok(()), Err(error)) => {
            bail!("the application's HTTP integration is set, and cannot be read back: {error}")
        }
        (Ok(()), Ok(held)) => held,
    };
    let found = held.map_or_else(
        || "it has none now".to_owned(),
        |held| describe(None, &held, ""),
    );
    bail!(
        "somebody changed the application's HTTP integration at the same time: run this again. Found:\n{found}"
    )
}

/// An application by its id or its name.
async fn find_application(
    client: &ChirpStackClient,
    asked: &str,
) -> anyhow::Result<(Uuid, String)> {
    if let Ok(id) = asked.parse::<Uuid>() {
        let name = client.application(id).await;
        return Ok((id, name.context("the application cannot be read")?));
    }
    let listed = client.applications(None).await.context(
        "the applications cannot be listed: a tenant's key needs chirpstack.tenant_id for that; or name the application \
         by its id",
    )?;
    let mut named = listed
        .iter()
        .filter(|application| application.name == asked);
    match (named.next(), named.next()) {
        (Some(application), None) => Ok((application.id, application.name.clone())),
        (Some(_), Some(_)) => bail!("several applications are called {asked}: name one by its id"),
        (None, _) => {
            let all: Vec<&str> = listed.iter().map(|it| it.name.as_str()).collect();
            bail!(
                "there is no application {asked} that this key can see; there are: {}",
                all.join(", ")
            )
        }
    }
}

/// The integration in words, without a secret.
fn describe(now: Option<&HttpIntegration>, then: &HttpIntegration, key: &str) -> String {
    let before: Vec<&str> = now.map(|now| endpoints(now).collect()).unwrap_or_default();
    let mut lines = Vec::new();
    for url in endpoints(then) {
        let mark = if before.contains(&url) {
            "as before"
        } else {
            "new"
        };
        lines.push(format!("  {}  ({mark})", masked(url)));
    }
    let headers: Vec<&str> = then.headers.keys().map(String::as_str).collect();
    let headers = match headers.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    lines.push(format!("  headers: {headers}"));
    let encoding = match then.encoding {
        Encoding::Json => "JSON",
        Encoding::Protobuf => "Protobuf",
    };
    lines.push(format!("  encoding: {encoding}"));
    if !key.is_empty() {
        lines.push(format!("  key: {key}"));
    }
    lines.join("\n")
}

/// Where a key for the webhook comes from.
enum Keys {
    /// It was given.
    Given(SecretString),
    /// It is made.
    Made {
        store: Box<Store>,
        tenant: Option<(TenantId, String)>,
    },
}

impl Keys {
    fn given(variable: &str, key: &str) -> anyhow::Result<Self> {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("the variable {variable} must hold visible ASCII characters");
        }
        Ok(Self::Given(SecretString::from(key)))
    }

    async fn open(config: &Config, tenant: Option<&str>) -> anyhow::Result<Self> {
        let store = open_store(config).await?;
        let tenant = match tenant {
            None => None,
            Some(name) => {
                let tenant = store.tenant_by_name(Scope::Platform, name).await?;
                let tenant = tenant.with_context(|| format!("there is no tenant {name}"))?;
                Some((tenant.id, name.to_owned()))
            }
        };
        Ok(Self::Made {
            store: Box::new(store),
            tenant,
        })
    }

    async fn close(self) {
        if let Self::Made { store, .. } = self {
            store.close().await;
        }
    }

    /// Whether events may be delivered with a key as it is.
    async fn is_good(&self, key: &SecretString) -> anyhow::Result<bool> {
        match self {
            Self::Given(given) => Ok(given.expose_secret() == key.expose_secret()),
            Self::Made { tenant, .. } => Ok(self.record(key).await?.is_some_and(|record| {
                record.is_valid_at(Clock::system().now())
                    && matches!(record.role, Role::Webhook | Role::Admin)
                    && (tenant.is_none() || record.tenant_id == tenant.as_ref().map(|it| it.0))
            })),
        }
    }

    /// Whether a key was ever one of this service.
    async fn is_known(&self, key: &SecretString) -> anyhow::Result<bool> {
        match self {
            Self::Given(given) => Ok(given.expose_secret() == key.expose_secret()),
            Self::Made { .. } => Ok(self.record(key).await?.is_some()),
        }
    }

    async fn record(&self, key: &SecretString) -> anyhow::Result<Option<ApiKey>> {
        match self {
            Self::Given(_) => Ok(None),
            Self::Made { store, .. } => Ok(store
                .api_key_by_hash(&secret_key::hash(key.expose_secret()))
                .await?),
        }
    }

    /// The key that is to be used; one that is made is good only once it is kept.
    fn fresh(&self) -> SecretString {
        match self {
            Self::Given(given) => given.clone(),
            Self::Made { .. } => secret_key::generate(),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Given(_) => "the one given".to_owned(),
            Self::Made { tenant: None, .. } => "a new webhook key of the platform".to_owned(),
            Self::Made {
                tenant: Some((_, name)),
                ..
            } => format!("a new webhook key of the tenant {name}"),
        }
    }

    async fn keep(&self, key: &SecretString, application: &str) -> anyhow::Result<Option<ApiKey>> {
        let Self::Made { store, tenant } = self else {
            return Ok(None);
        };
        let name = format!("ChirpStack's application {application}");
        let name: String = name.chars().take(KEY_NAME_MAX).collect();
        let tenant_id = tenant.as_ref().map(|it| it.0);
        let now = Clock::system().now();
        let new = NewKey::new(&name, Role::Webhook, tenant_id);
        let record = secret_key::keep(store, key, new, now, &By::command_line()).await?;
        Ok(Some(record))
    }

    async fn take_back(&self, key: &ApiKey) -> anyhow::Result<()> {
        if let Self::Made { store, .. } = self {
            let now = Clock::system().now();
            let by = By::command_line();
            store
                .revoke_api_key(Scope::Platform, key.id, now, &by)
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
