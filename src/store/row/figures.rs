//! How a tenant fares.

use std::collections::BTreeMap;

use downbeat_actors::port::StoreError;
use downbeat_core::device::DownlinkState;
use downbeat_core::sync::SyncState;
use sqlx::FromRow;

use super::{corrupt, count};
use crate::store::{DeviceFigures, TenantFigures};

/// What is counted in one row.
#[derive(FromRow)]
pub(crate) struct FiguresRow {
    total: i64,
    online: i64,
    offline: i64,
    never_seen: i64,
    differing: i64,
    default_app_keys: i64,
    jobs: i64,
    drift: i64,
    unclaimed: i64,
}

/// How many there are of a name.
pub(crate) type Named = (String, i64);

/// How many downlinks are in a state for a reason.
pub(crate) type UnderWay = (String, Option<String>, i64);

impl FiguresRow {
    /// With what is counted by name beside it.
    pub(crate) fn with(
        self,
        not_synced: Vec<Named>,
        under_way: Vec<UnderWay>,
    ) -> Result<TenantFigures, StoreError> {
        let mut waiting_for = BTreeMap::new();
        for (state, reason, downlinks) in &under_way {
            if let Some(reason) = reason
                && state == DownlinkState::Waiting.name()
            {
                waiting_for.insert(reason.clone(), count(*downlinks));
            }
        }
        let under_way = under_way
            .into_iter()
            .map(|(state, _, downlinks)| (state, downlinks));
        Ok(TenantFigures {
            devices: DeviceFigures {
                total: count(self.total),
                online: count(self.online),
                offline: count(self.offline),
                never_seen: count(self.never_seen),
                differing: count(self.differing),
                default_app_keys: count(self.default_app_keys),
            },
            not_synced: by_name(not_synced, "device_sync", "sync_state", SyncState::by_name)?,
            under_way: by_name(under_way, "downlink", "state", DownlinkState::by_name)?,
            waiting_for,
            jobs: count(self.jobs),
            drift: count(self.drift),
            unclaimed: count(self.unclaimed),
        })
    }
}

fn by_name<K: Ord>(
    rows: impl IntoIterator<Item = Named>,
    table: &'static str,
    column: &'static str,
    known: impl Fn(&str) -> Option<K>,
) -> Result<BTreeMap<K, u64>, StoreError> {
    let mut counts = BTreeMap::new();
    for (name, rows) in rows {
        let key = known(&name).ok_or_else(|| corrupt(table, column, &name, "unknown state"))?;
        *counts.entry(key).or_default() += count(rows);
    }
    Ok(counts)
}
