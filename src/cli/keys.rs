//! `downbeat key`: make, list and revoke API keys.

use anyhow::{Context as _, bail};
use clap::Subcommand;
use downbeat_actors::clock::Clock;
use secrecy::ExposeSecret as _;

use super::{ConfigArgs, open_store, print};
use crate::secret_key;
use crate::store::{ApiKeyId, By, PAGE_MAX, PageRequest, Role, Scope};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, once.
    Create {
        /// What it may do: admin, operator, viewer or webhook.
        #[arg(long, value_parser = parse_role)]
        role: Role,
        /// A name for people.
        #[arg(long)]
        name: String,
        /// The tenant it belongs to, by name; the whole platform without.
        #[arg(long)]
        tenant: Option<String>,
        /// Where the keys are kept.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// List the keys there are; the keys themselves are not kept.
    List {
        /// Where the keys are kept.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Take a key back; it stops working at once.
    Revoke {
        /// Its id, as `list` shows it.
        id: ApiKeyId,
        /// Where the keys are kept.
        #[command(flatten)]
        config: ConfigArgs,
    },
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::by_name(text).ok_or_else(|| "must be admin, operator, viewer or webhook".to_owned())
}

/// Does it.
pub(super) async fn run(command: KeyCommand) -> anyhow::Result<()> {
    let now = Clock::system().now();
    match command {
        KeyCommand::Create {
            role,
            name,
            tenant,
            config,
        } => {
            let store = open_store(&config.load()?.config).await?;
            let tenant_id = match tenant {
                Some(name) => Some(
                    store
                        .tenant_by_name(Scope::Platform, &name)
                        .await?
                        .with_context(|| format!("there is no tenant {name}"))?
                        .id,
                ),
                None => None,
            };
            let key = secret_key::generate();
            secret_key::store(
                &store,
                &key,
                &name,
                role,
                tenant_id,
                now,
                &By::command_line(),
            )
            .await?;
            store.close().await;
            print(key.expose_secret())
        }
        KeyCommand::List { config } => {
            let store = open_store(&config.load()?.config).await?;
            let mut page = PageRequest::first(PAGE_MAX);
            loop {
                let keys = store.list_api_keys(Scope::Platform, page).await?;
                for key in &keys.items {
                    let state = if key.is_valid_at(now) {
                        "valid"
                    } else {
                        "revoked"
                    };
                    let used = key
                        .last_used_at
                        .map_or_else(|| "never used".to_owned(), |at| format!("used {at}"));
                    print(&format!(
                        "{}  {:<8}  {}…  {:<7}  {}  {}",
                        key.id,
                        key.role.name(),
                        key.prefix,
                        state,
                        used,
                        key.name
                    ))?;
                }
                let Some(next) = keys.next else { break };
                page = PageRequest {
                    limit: PAGE_MAX,
                    after: Some(next),
                };
            }
            store.close().await;
            Ok(())
        }
        KeyCommand::Revoke { id, config } => {
            let store = open_store(&config.load()?.config).await?;
            if !store
                .revoke_api_key(Scope::Platform, id, now, &By::command_line())
                .await?
            {
                bail!("there is no valid key {id}");
            }
            store.close().await;
            print("Revoked.")
        }
    }
}
