//! `downbeat key`: make, list and revoke API keys.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use downbeat_actors::clock::Clock;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{ConfigArgs, open_store, print};
use crate::secret_key::{self, NewKey};
use crate::store::{ApiKey, ApiKeyId, By, PAGE_MAX, PageRequest, Role, Scope, Store, Tenant};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, once.
    #[command(
        after_help = "Example:\n  downbeat key create --role operator --name \"wall panel\" --tenant default --expires 90d"
    )]
    Create {
        /// What it may do: admin, operator, viewer or webhook.
        #[arg(long, value_parser = parse_role)]
        role: Role,
        /// A name for people, 1 to 100 characters.
        #[arg(long, value_parser = parse_name)]
        name: String,
        /// The tenant it belongs to, by name or id; the whole platform without.
        #[arg(long)]
        tenant: Option<String>,
        /// When it ceases to work: a time in RFC 3339, or so many minutes, hours, days or weeks from now, like 90d;
        /// never without.
        #[arg(long, value_parser = parse_expiry)]
        expires: Option<Expiry>,
        /// Print JSON, with what is known of the key.
        #[arg(long)]
        json: bool,
        /// Where the keys are kept.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// List the keys there are; the keys themselves are not kept.
    #[command(after_help = "Example:\n  downbeat key list --tenant default")]
    List {
        /// Those of one tenant, by name or id; all without.
        #[arg(long)]
        tenant: Option<String>,
        /// Print JSON, one key a line.
        #[arg(long)]
        json: bool,
        /// Where the keys are kept.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Take a key back; it stops working within seconds.
    #[command(after_help = "Example:\n  downbeat key revoke 01a2b7fa-7f26-7109-8c88-d0b5abe764e0")]
    Revoke {
        /// Its id, as `list` shows it.
        id: ApiKeyId,
        /// Where the keys are kept.
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// When a key ceases to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Then.
    At(Timestamp),
    /// So long from now.
    In(Duration),
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::by_name(text).ok_or_else(|| "must be admin, operator, viewer or webhook".to_owned())
}

fn parse_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    let is_plain = !name.chars().any(char::is_control);
    if is_plain && (1..=100).contains(&name.chars().count()) {
        Ok(name.to_owned())
    } else {
        Err("must have 1 to 100 characters, none of them a control character".to_owned())
    }
}

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    const WORDS: &str = "must be a time like 2030-01-31T12:00:00Z, or a duration like 90d";
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(Expiry::At(time.to_utc().into()));
    }
    let (number, unit) = text
        .char_indices()
        .next_back()
        .map(|(at, unit)| (&text[..at], unit))
        .ok_or(WORDS)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 24 * 3_600,
        'w' => 7 * 24 * 3_600,
        _ => return Err(WORDS.to_owned()),
    };
    // Ten digits of weeks are still a time that can be reckoned with.
    let number: u32 = number.parse().map_err(|_| WORDS)?;
    Ok(Expiry::In(Duration::from_secs(u64::from(number) * seconds)))
}

/// Does it.
pub(super) async fn run(command: KeyCommand) -> anyhow::Result<()> {
    let now = Clock::system().now();
    match command {
        KeyCommand::Create {
            role,
            name,
            tenant,
            expires,
            json,
            config,
        } => {
            let expires_at = expires.map(|expiry| match expiry {
                Expiry::At(at) => at,
                Expiry::In(duration) => now + duration,
            });
            if expires_at.is_some_and(|at| at <= now) {
                bail!("--expires must be in the future");
            }
            let store = open_store(&config.load()?.config).await?;
            let tenant_id = tenant_id(&store, tenant.as_deref()).await?;
            let key = secret_key::generate();
            let new = NewKey {
                expires_at,
                ..NewKey::new(&name, role, tenant_id)
            };
            let kept = secret_key::keep(&store, &key, new, now, &By::command_line()).await?;
            store.close().await;
            if json {
                let mut words = in_json(&kept, now);
                words["key"] = key.expose_secret().into();
                print(&words.to_string())
            } else {
                print(key.expose_secret())
            }
        }
        KeyCommand::List {
            tenant,
            json,
            config,
        } => {
            let store = open_store(&config.load()?.config).await?;
            let scope = tenant_id(&store, tenant.as_deref()).await?;
            let scope = scope.map_or(Scope::Platform, Scope::Tenant);
            let keys = all_keys(&store, scope).await?;
            if json {
                for key in &keys {
                    print(&in_json(key, now).to_string())?;
                }
            } else {
                let tenants = all_tenants(&store).await?;
                print(&table(&keys, &tenants, now))?;
            }
            store.close().await;
            Ok(())
        }
        KeyCommand::Revoke { id, config } => {
            let store = open_store(&config.load()?.config).await?;
            let key = store.api_key(Scope::Platform, id).await?;
            let key = key.with_context(|| format!("there is no key {id}"))?;
            if secret_key::is_last_admin(&store, &key, now).await? {
                bail!(
                    "nobody could administer the platform without this key: make another first, with \
                     `downbeat key create --role admin --name NAME`"
                );
            }
            let by = By::command_line();
            store.revoke_api_key(Scope::Platform, id, now, &by).await?;
            store.close().await;
            print(match key.revoked_at {
                Some(_) => "It was revoked before.",
                None => "Revoked.",
            })
        }
    }
}

async fn tenant_id(store: &Store, named: Option<&str>) -> anyhow::Result<Option<TenantId>> {
    let Some(named) = named else {
        return Ok(None);
    };
    let tenant = match named.parse() {
        Ok(id) => store.tenant(Scope::Platform, id).await?,
        Err(_) => store.tenant_by_name(Scope::Platform, named).await?,
    };
    let tenant = tenant.with_context(|| format!("there is no tenant {named}"))?;
    Ok(Some(tenant.id))
}

async fn all_keys(store: &Store, scope: Scope) -> anyhow::Result<Vec<ApiKey>> {
    let (mut keys, mut page) = (Vec::new(), PageRequest::first(PAGE_MAX));
    loop {
        let more = store.list_api_keys(scope, page).await?;
        keys.extend(more.items);
        page.after = more.next;
        if page.after.is_none() {
            return Ok(keys);
        }
    }
}

async fn all_tenants(store: &Store) -> anyhow::Result<Vec<Tenant>> {
    let (mut tenants, mut page) = (Vec::new(), PageRequest::first(PAGE_MAX));
    loop {
        let more = store.list_tenants(Scope::Platform, page).await?;
        tenants.extend(more.items);
        page.after = more.next;
        if page.after.is_none() {
            return Ok(tenants);
        }
    }
}

fn state(key: &ApiKey, now: Timestamp) -> &'static str {
    if key.revoked_at.is_some() {
        "revoked"
    } else if key.is_valid_at(now) {
        "valid"
    } else {
        "expired"
    }
}

fn in_json(key: &ApiKey, now: Timestamp) -> Value {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": key.id.to_string(),
        "tenant_id": key.tenant_id.map(|id| id.to_string()),
        "role": key.role.name(),
        "name": key.name,
        "prefix": key.prefix,
        "state": state(key, now),
        "requests_per_minute": key.requests_per_minute,
        "created_at": key.created_at.to_string(),
        "expires_at": text(key.expires_at),
        "revoked_at": text(key.revoked_at),
        "last_used_at": text(key.last_used_at),
    })
}

/// The keys in columns as wide as what they hold.
fn table(keys: &[ApiKey], tenants: &[Tenant], now: Timestamp) -> String {
    let head = [
        "ID",
        "TENANT",
        "ROLE",
        "KEY",
        "STATE",
        "EXPIRES",
        "LAST USED",
        "NAME",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(keys.iter().map(|key| {
        let tenant = key.tenant_id.map_or_else(
            || "(platform)".to_owned(),
            |id| {
                let named = tenants.iter().find(|tenant| tenant.id == id);
                named.map_or_else(|| id.to_string(), |tenant| tenant.fields.name.clone())
            },
        );
        let or = |at: Option<Timestamp>, word: &str| {
            at.map_or_else(|| word.to_owned(), |at| at.to_string())
        };
        [
            key.id.to_string(),
            tenant,
            key.role.name().to_owned(),
            format!("{}…", key.prefix),
            state(key, now).to_owned(),
            or(key.expires_at, "never"),
            or(key.last_used_at, "never"),
            key.name.clone(),
        ]
    }));
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(widths);
            let line: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            line.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_or_a_while() {
        let day = Duration::from_hours(24);
        for (text, expiry) in [
            ("90d", Expiry::In(day * 90)),
            ("2w", Expiry::In(day * 14)),
            ("12h", Expiry::In(day / 2)),
            ("30m", Expiry::In(Duration::from_mins(30))),
            (
                "1970-01-01T00:00:01Z",
                Expiry::At(Timestamp::from_millis(1_000)),
            ),
            (
                "1970-01-01T01:00:01+01:00",
                Expiry::At(Timestamp::from_millis(1_000)),
            ),
        ] {
            assert_eq!(parse_expiry(text), Ok(expiry), "{text}");
        }
        for text in [
            "",
            "d",
            "90",
            "-1d",
            "1.5d",
            "90 d",
            "1y",
            "2030-01-31",
            "1ä",
        ] {
            assert!(parse_expiry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_shown_in_columns() {
        let new = NewKey::new("wall", Role::Operator, None);
        let key = ApiKey {
            id: new.id,
            tenant_id: None,
            role: new.role,
            name: new.name,
            prefix: "db_abcde".to_owned(),
            created_at: Timestamp::default(),
            expires_at: Some(Timestamp::from_millis(1_000)),
            revoked_at: None,
            requests_per_minute: None,
            last_used_at: None,
        };
        let shown = table(
            std::slice::from_ref(&key),
            &[],
            Timestamp::from_millis(2_000),
        );
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 2);
        for word in [
            "(platform)",
            "operator",
            "db_abcde…",
            "expired",
            "never      wall",
        ] {
            assert!(lines[1].contains(word), "{word} in {shown}");
        }
        assert_eq!(lines[0].find("ROLE"), lines[1].find("operator"));
        assert_eq!(in_json(&key, Timestamp::default())["state"], "valid");
    }
}
