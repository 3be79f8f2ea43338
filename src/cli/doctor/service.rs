//! What is Downbeat's own: database, history, webhook keys.

use downbeat_actors::clock::Clock;

use super::report::Report;
use crate::config::Config;
use crate::store::{PAGE_MAX, PageRequest, Role, Scope, Store};

use super::chain;

/// Events are kept a week by default: less, and last weekend cannot be looked into on Monday.
const HISTORY_DAYS: u32 = 7;

pub(super) async fn examine(config: &Config, report: &mut Report) -> Option<Store> {
    let store = database(config, report).await;
    if config.limits.history_days < HISTORY_DAYS {
        report.warn(
            "history",
            format!(
                "events of devices are kept for {} days: what went wrong before that cannot be looked up",
                config.limits.history_days
            ),
            format!("set limits.history_days to {HISTORY_DAYS} or more"),
        );
    } else {
        report.ok(
            "history",
            format!(
                "events of devices are kept for {} days",
                config.limits.history_days
            ),
        );
    }
    if let Some(store) = &store {
        webhook_keys(store, report).await;
    }
    store
}

async fn database(config: &Config, report: &mut Report) -> Option<Store> {
    let file = config.database_url.strip_prefix("sqlite://");
    if let Some(file) = file
        && !std::path::Path::new(file).exists()
    {
        report.warn(
            "database",
            format!("there is none yet at {file}"),
            "`downbeat serve` or `downbeat migrate` makes it",
        );
        return None;
    }
    let store = match Store::open(&config.database_url).await {
        Ok(store) => store,
        Err(error) => {
            report.fail(
                "database",
                chain(&error),
                "see to it that database_url names a database that this user may write to",
            );
            return None;
        }
    };
    match store.ping().await {
        Ok(()) => report.ok("database", "it answers, and its schema is up to date"),
        Err(error) => report.fail(
            "database",
            chain(&error),
            "see to it that the database can be written to and that no other process holds its lock",
        ),
    }
    Some(store)
}

async fn webhook_keys(store: &Store, report: &mut Report) {
    const CHECK: &str = "webhook key";
    let now = Clock::system().now();
    let mut page = PageRequest::first(PAGE_MAX);
    let (mut count, mut last_used_at) = (0_usize, None);
    loop {
        let keys = match store.list_api_keys(Scope::Platform, page).await {
            Ok(keys) => keys,
            Err(error) => {
                report.unknown(CHECK, chain(&error), "see to the database first");
                return;
            }
        };
        for key in &keys.items {
            if key.role == Role::Webhook && key.is_valid_at(now) {
                count += 1;
                last_used_at = last_used_at.max(key.last_used_at);
            }
        }
        let Some(next) = keys.next else { break };
        page = PageRequest {
            limit: PAGE_MAX,
            after: Some(next),
        };
    }
    match (count, last_used_at) {
        (0, _) => report.warn(
            CHECK,
            "there is none that works: ChirpStack cannot deliver events with a key of its own",
            "`downbeat connect` makes one and gives it to ChirpStack",
        ),
        (_, None) => report.warn(
            CHECK,
            "no event has ever been delivered with one",
            "see that ChirpStack reaches this service; its log says \"Posting event failed\" where it does not",
        ),
        (_, Some(at)) => report.ok(CHECK, format!("an event was delivered at {at}")),
    }
}
