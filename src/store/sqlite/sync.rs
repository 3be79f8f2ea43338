//! Wishes for `ChirpStack`: the registry makes them, the actors tell how far they are.

use std::collections::BTreeMap;

use downbeat_actors::port::{StoreError, StoredSync, SyncChange};
use downbeat_core::app_key::AppKey;
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, NetworkServerId};
use downbeat_core::time::Timestamp;
use sqlx::query_builder::Separated;
use sqlx::{QueryBuilder, Sqlite as Db, SqliteConnection};
use uuid::Uuid;

use super::{Sqlite, audit, store_error};
use crate::store::audit::Change;
use crate::store::device_write::WishRow;
use crate::store::row::{
    StoredSyncRow, device_key, millis, new_sync, of_generation, open_app_key, tenant_of,
    to_generation,
};
use crate::store::{By, DeviceSync, Scope, rounds};

/// A wish with the device that is wanted there, if one is.
macro_rules! select_sync {
    ($rest:literal) => {
        concat!(
            "SELECT s.network_server_id, s.dev_eui, s.tenant_id, s.generation, s.force, s.machine, d.id AS device_id,
                d.name, d.description, d.tags, d.chirpstack_app_id, d.device_profile_id, d.join_eui,
                CASE WHEN d.app_key IS NOT NULL THEN d.app_key_revision END AS app_key_revision
             FROM device_sync AS s LEFT JOIN device AS d
                ON d.network_server_id = s.network_server_id AND d.dev_eui = s.dev_eui
                AND d.chirpstack_app_id IS NOT NULL AND d.device_profile_id IS NOT NULL ",
            $rest
        )
    };
}

/// What every new wish sets: a generation greater than any before, and how far it is to the beginning.
macro_rules! anew {
    () => {
        "generation = (SELECT last + 1 FROM sync_generation), sync_state = 'pending', sync_error = NULL, sync_attempts = 0, next_attempt_at = NULL, unfinished = 1"
    };
}

impl Sqlite {
    pub(in crate::store) async fn unfinished_syncs(
        &self,
        server: NetworkServerId,
        limit: u32,
    ) -> Result<Vec<StoredSync>, StoreError> {
        let rows: Vec<StoredSyncRow> = sqlx::query_as(select_sync!(
            "WHERE s.network_server_id = ?1 AND s.unfinished = 1 ORDER BY s.next_attempt_at, s.dev_eui LIMIT ?2"
        ))
        .bind(server.as_uuid())
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(StoredSync::try_from).collect()
    }

    pub(in crate::store) async fn unfinished_syncs_of(
        &self,
        server: NetworkServerId,
        devices: &[DevEui],
    ) -> Result<Vec<StoredSync>, StoreError> {
        let devices: Vec<String> = devices.iter().map(DevEui::to_string).collect();
        let rows: Vec<StoredSyncRow> = sqlx::query_as(select_sync!(
            "WHERE s.network_server_id = ?1 AND s.unfinished = 1 AND s.dev_eui IN (SELECT value FROM json_each(?2))"
        ))
        .bind(server.as_uuid())
        .bind(serde_json::json!(devices))
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(StoredSync::try_from).collect()
    }

    pub(in crate::store) async fn load_sync(
        &self,
        key: DeviceKey,
    ) -> Result<Option<StoredSync>, StoreError> {
        let row: Option<StoredSyncRow> = sqlx::query_as(select_sync!(
            "WHERE s.network_server_id = ?1 AND s.dev_eui = ?2"
        ))
        .bind(key.server.as_uuid())
        .bind(key.dev_eui.to_string())
        .fetch_optional(&self.readers)
        .await
        .map_err(store_error)?;
        row.map(StoredSync::try_from).transpose()
    }

    pub(in crate::store) async fn commit_syncs(
        &self,
        changes: &[SyncChange],
    ) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let changes = changes.to_vec();
        self.write(move |connection| {
            Box::pin(async move {
                for round in rounds(&changes, |change| change.key) {
                    let done = store(connection, &round).await;
                    done.map_err(store_error)?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(in crate::store) async fn app_key(
        &self,
        key: DeviceKey,
        revision: u32,
    ) -> Result<Option<AppKey>, StoreError> {
        let row: Option<(Uuid, Vec<u8>)> = sqlx::query_as(
            "SELECT id, app_key FROM device
             WHERE network_server_id = ?1 AND dev_eui = ?2 AND app_key_revision = ?3 AND app_key IS NOT NULL",
        )
        .bind(key.server.as_uuid())
        .bind(key.dev_eui.to_string())
        .bind(revision)
        .fetch_optional(&self.readers)
        .await
        .map_err(store_error)?;
        row.map(|(id, sealed)| open_app_key(DeviceId::from_uuid(id), &sealed, &self.sealer))
            .transpose()
    }

    pub(in crate::store) async fn request_sync(
        &self,
        scope: Scope,
        id: DeviceId,
        force: bool,
        at: Timestamp,
        by: &By,
    ) -> Result<Option<u64>, StoreError> {
        let by = by.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let device = super::device_list::find(&mut *connection, scope, id).await?;
                let Some(device) = device.filter(|device| device.sync.is_some()) else {
                    return Ok(None);
                };
                let generation: i64 = sqlx::query_scalar(concat!(
                    "UPDATE device_sync SET force = ?3, ",
                    anew!(),
                    " WHERE network_server_id = ?1 AND dev_eui = ?2 RETURNING generation"
                ))
                .bind(device.server.as_uuid())
                .bind(device.fields.dev_eui.map(|eui| eui.to_string()))
                .bind(force)
                .fetch_one(&mut *connection)
                .await
                .map_err(store_error)?;
                let generation = to_generation(generation);
                let change = Change {
                    by: &by,
                    at,
                    action: "device.sync",
                };
                let entry = change.of_sync(device.tenant_id, id, generation, force);
                audit::append(connection, &entry).await?;
                Ok(Some(generation))
            })
        })
        .await
    }

    pub(in crate::store) async fn request_sync_all(
        &self,
        scope: Scope,
        at: Timestamp,
        by: &By,
    ) -> Result<u64, StoreError> {
        let by = by.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let wished = sqlx::query(concat!(
                    "UPDATE device_sync SET ",
                    anew!(),
                    " WHERE (?1 IS NULL OR tenant_id = ?1) AND synced_generation < generation"
                ))
                .bind(tenant_of(scope))
                .execute(&mut *connection)
                .await
                .map_err(store_error)?
                .rows_affected();
                let change = Change {
                    by: &by,
                    at,
                    action: "device.sync_all",
                };
                audit::append(connection, &change.of_sync_all(scope, wished)).await?;
                Ok(wished)
            })
        })
        .await
    }
}

/// A wish as it was made: network server, `DevEUI`, generation, fulfilled generation.
pub(super) type Made = (Uuid, String, i64, i64);

const RETURNING: &str = " RETURNING network_server_id, dev_eui, generation, synced_generation";

/// Adds statements that make wishes, none about the same place as another, and return them as [`Made`].
pub(super) fn push_wishes(query: &mut QueryBuilder<Db>, wishes: &[WishRow]) {
    if wishes.is_empty() {
        return;
    }
    // They are numbered backwards from the last of them: nobody else writes meanwhile, so it stays what it is.
    let mut follow = i64::try_from(wishes.len()).unwrap_or(i64::MAX);
    query.push("UPDATE sync_generation SET last = last + ");
    query.push_bind(follow).push("; ");
    let mut push_generation = |row: &mut Separated<'_, Db, &'static str>| {
        follow -= 1;
        row.push("(SELECT last FROM sync_generation) - ")
            .push_bind_unseparated(follow);
    };
    let (again, anew): (Vec<&WishRow>, Vec<&WishRow>) =
        wishes.iter().partition(|wish| wish.follows_own);
    if !anew.is_empty() {
        query.push(
            "INSERT INTO device_sync (network_server_id, dev_eui, tenant_id, device_id, generation) ",
        );
        query.push_values(anew, |mut row, wish| {
            push_key(&mut row, wish);
            row.push_bind(wish.tenant_id.as_uuid())
                .push_bind(wish.device_id.as_uuid());
            push_generation(&mut row);
        });
        query
            .push(
                " ON CONFLICT (network_server_id, dev_eui) DO UPDATE SET
                    tenant_id = excluded.tenant_id, device_id = excluded.device_id, force = 0,
                    generation = excluded.generation, sync_state = 'pending', sync_error = NULL, sync_attempts = 0,
                    next_attempt_at = NULL, unfinished = 1",
            )
            .push(RETURNING)
            .push("; ");
    }
    if !again.is_empty() {
        query.push(
            "UPDATE device_sync SET
                force = (v.column3 AND force = 1 AND synced_generation < generation),
                generation = v.column4, sync_state = 'pending', sync_error = NULL, sync_attempts = 0
             FROM (",
        );
        query.push_values(&again, |mut row, wish| {
            push_key(&mut row, wish);
            row.push_bind(wish.keeps_force);
            push_generation(&mut row);
        });
        query
            .push(") AS v WHERE network_server_id = v.column1 AND dev_eui = v.column2")
            .push(RETURNING);
        // What an index holds is written anew wherever a statement names it, and here it mostly stays as it is.
        query.push("; UPDATE device_sync SET next_attempt_at = NULL, unfinished = 1 FROM (");
        query.push_values(&again, |mut row, wish| push_key(&mut row, wish));
        query.push(
            ") AS v WHERE network_server_id = v.column1 AND dev_eui = v.column2
             AND (unfinished = 0 OR next_attempt_at IS NOT NULL); ",
        );
    }
}

fn push_key(row: &mut Separated<'_, Db, &'static str>, wish: &WishRow) {
    row.push_bind(wish.key.server.as_uuid())
        .push_bind(wish.key.dev_eui.to_string());
}

/// Wishes as devices tell them.
pub(super) fn wished(made: Vec<Made>) -> Result<BTreeMap<DeviceKey, DeviceSync>, StoreError> {
    made.into_iter()
        .map(|(server, dev_eui, generation, synced)| {
            Ok((device_key(server, &dev_eui)?, new_sync(generation, synced)))
        })
        .collect()
}

/// Wishes everything anew that was wanted of a network server.
pub(super) async fn wish_server_anew(
    connection: &mut SqliteConnection,
    server: NetworkServerId,
) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "UPDATE device_sync SET ",
        anew!(),
        " WHERE network_server_id = ?1"
    ))
    .bind(server.as_uuid())
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Stores how far wishes are, none about the same place as another.
async fn store(
    connection: &mut SqliteConnection,
    changes: &[&SyncChange],
) -> Result<(), sqlx::Error> {
    for change in changes.iter().filter(|change| change.gone) {
        delete(&mut *connection, change).await?;
    }
    update(connection, changes).await
}

/// Takes away what is gone, if nothing else is wanted since.
async fn delete(connection: &mut SqliteConnection, change: &SyncChange) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM device_sync WHERE network_server_id = ?1 AND dev_eui = ?2 AND generation = ?3
         AND NOT EXISTS (
            SELECT 1 FROM device WHERE network_server_id = ?1 AND dev_eui = ?2
            AND chirpstack_app_id IS NOT NULL AND device_profile_id IS NOT NULL
         )",
    )
    .bind(change.key.server.as_uuid())
    .bind(change.key.dev_eui.to_string())
    .bind(of_generation(change.generation))
    .execute(connection)
    .await
    .map(drop)
}

/// What is known of `ChirpStack` is kept whatever has been wished since; how far the wish is, only of the newest one.
async fn update(
    connection: &mut SqliteConnection,
    changes: &[&SyncChange],
) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::new(
        "UPDATE device_sync SET
            machine = v.column3, synced_generation = max(synced_generation, min(v.column4, generation)),
            sync_state = iif(generation = v.column5, v.column6, sync_state),
            sync_error = iif(generation = v.column5, v.column7, sync_error),
            sync_attempts = iif(generation = v.column5, v.column8, sync_attempts),
            next_attempt_at = iif(generation = v.column5, v.column9, next_attempt_at),
            unfinished = iif(generation = v.column5, v.column10, unfinished)
         FROM (",
    );
    query.push_values(changes, |mut row, change| {
        let status = &change.status;
        row.push_bind(change.key.server.as_uuid())
            .push_bind(change.key.dev_eui.to_string())
            .push_bind(&change.machine)
            .push_bind(of_generation(change.synced_generation))
            .push_bind(of_generation(change.generation))
            .push_bind(status.state.name())
            .push_bind(&status.error)
            .push_bind(status.attempts)
            .push_bind(status.next_attempt_at.map(millis))
            .push_bind(change.unfinished);
    });
    query.push(") AS v WHERE network_server_id = v.column1 AND dev_eui = v.column2");
    let query = query.build().persistent(false);
    query.execute(connection).await.map(drop)
}
