//! Wishes for `ChirpStack`: the registry makes them, the actors tell how far they are.

use std::collections::BTreeMap;

use downbeat_actors::port::{StoreError, StoredSync, SyncChange};
use downbeat_core::app_key::AppKey;
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, NetworkServerId};
use downbeat_core::time::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::audit::column;
use super::commit::TRIES_MAX;
use super::error::{is_collision, store_error};
use super::session::Access;
use super::text::text;
use super::{Postgres, audit};
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
        select_sync!("device_sync AS s", $rest)
    };
    ($wishes:literal, $rest:literal) => {
        concat!(
            "SELECT s.network_server_id, s.dev_eui, s.tenant_id, s.generation, s.force, s.machine, d.id AS device_id,
                d.name, d.description, d.tags, d.chirpstack_app_id, d.device_profile_id, d.join_eui,
                CASE WHEN d.app_key IS NOT NULL THEN d.app_key_revision END AS app_key_revision
             FROM ",
            $wishes,
            " LEFT JOIN device AS d
                ON d.network_server_id = s.network_server_id AND d.dev_eui = s.dev_eui
                AND d.chirpstack_app_id IS NOT NULL AND d.device_profile_id IS NOT NULL ",
            $rest
        )
    };
}

/// What a new wish sets to the beginning, whoever's it is. Its number is drawn when the row is this transaction's, so
/// that it is greater than that of any wish before.
macro_rules! anew {
    () => {
        "generation = nextval('sync_generation'), sync_state = 'pending', sync_error = NULL, sync_attempts = 0,
         next_attempt_at = NULL, unfinished = true"
    };
}

impl Postgres {
    pub(in crate::store) async fn unfinished_syncs(
        &self,
        server: NetworkServerId,
        limit: u32,
    ) -> Result<Vec<StoredSync>, StoreError> {
        // The one who carries wishes out does so for all tenants.
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let rows: Vec<StoredSyncRow> = sqlx::query_as(select_sync!(
            "WHERE s.network_server_id = $1 AND s.unfinished
             ORDER BY s.next_attempt_at NULLS FIRST, s.dev_eui LIMIT $2"
        ))
        .bind(server.as_uuid())
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
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
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        // Each by its key, whatever the planner believes: of a table that grew since it was analysed it believes that
        // hardly anything is unfinished, and would read all that is for each name. The cast keeps that index out.
        let rows: Vec<StoredSyncRow> = sqlx::query_as(select_sync!(
            "unnest($2::text[]) AS named (dev_eui) CROSS JOIN LATERAL (
                SELECT * FROM device_sync
                WHERE network_server_id = $1 AND dev_eui = named.dev_eui AND unfinished::integer = 1
                OFFSET 0
             ) AS s",
            ""
        ))
        .bind(server.as_uuid())
        .bind(devices)
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(StoredSync::try_from).collect()
    }

    pub(in crate::store) async fn load_sync(
        &self,
        key: DeviceKey,
    ) -> Result<Option<StoredSync>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let row: Option<StoredSyncRow> = sqlx::query_as(select_sync!(
            "WHERE s.network_server_id = $1 AND s.dev_eui = $2"
        ))
        .bind(key.server.as_uuid())
        .bind(key.dev_eui.to_string())
        .fetch_optional(&mut *transaction)
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
        let rounds = rounds(changes, |change| change.key);
        let mut tries_left = TRIES_MAX;
        loop {
            tries_left -= 1;
            let mut transaction = self.sessions.begin(Access::Platform).await?;
            let stored = match store(&mut transaction, &rounds).await {
                Ok(()) => transaction.commit().await,
                Err(error) => Err(error),
            };
            match stored {
                Err(error) if is_collision(&error) && tries_left > 0 => {}
                stored => return stored.map_err(store_error),
            }
        }
    }

    pub(in crate::store) async fn app_key(
        &self,
        key: DeviceKey,
        revision: u32,
    ) -> Result<Option<AppKey>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let row: Option<(Uuid, Vec<u8>)> = sqlx::query_as(
            "SELECT id, app_key FROM device
             WHERE network_server_id = $1 AND dev_eui = $2 AND app_key_revision = $3 AND app_key IS NOT NULL",
        )
        .bind(key.server.as_uuid())
        .bind(key.dev_eui.to_string())
        .bind(i64::from(revision))
        .fetch_optional(&mut *transaction)
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
        let mut transaction = self.sessions.begin(scope).await?;
        let connection = &mut *transaction;
        let device = super::device_list::lock(connection, id).await?;
        let Some(device) = device.filter(|device| device.sync.is_some()) else {
            return Ok(None);
        };
        let generation: Option<i64> = sqlx::query_scalar(concat!(
            "UPDATE device_sync SET force = $3, ",
            anew!(),
            " WHERE network_server_id = $1 AND dev_eui = $2 RETURNING generation"
        ))
        .bind(device.server.as_uuid())
        .bind(device.fields.dev_eui.map(|eui| eui.to_string()))
        .bind(force)
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
        let Some(generation) = generation.map(to_generation) else {
            return Ok(None);
        };
        let change = Change {
            by,
            at,
            action: "device.sync",
        };
        let entry = change.of_sync(device.tenant_id, id, generation, force);
        audit::append(connection, &entry).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(Some(generation))
    }

    pub(in crate::store) async fn request_sync_all(
        &self,
        scope: Scope,
        at: Timestamp,
        by: &By,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.sessions.begin(scope).await?;
        let wished = sqlx::query(concat!(
            "UPDATE device_sync SET ",
            anew!(),
            " WHERE ($1::uuid IS NULL OR tenant_id = $1) AND synced_generation < generation"
        ))
        .bind(tenant_of(scope))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?
        .rows_affected();
        let change = Change {
            by,
            at,
            action: "device.sync_all",
        };
        audit::append(&mut transaction, &change.of_sync_all(scope, wished)).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(wished)
    }
}

/// A wish as it was made: network server, `DevEUI`, generation, fulfilled generation.
type Made = (Uuid, String, i64, i64);

/// Makes wishes, none about the same place as another, each with a generation greater than any before.
pub(super) async fn wish(
    connection: &mut PgConnection,
    wishes: &[WishRow],
) -> Result<Vec<Made>, sqlx::Error> {
    let (changed, new): (Vec<&WishRow>, Vec<&WishRow>) =
        wishes.iter().partition(|wish| wish.keeps_force);
    let mut made = Vec::new();
    for (rows, statement) in [
        (
            new,
            concat!(
                "INSERT INTO device_sync AS s (network_server_id, dev_eui, tenant_id, device_id, generation)
                 SELECT *, nextval('sync_generation')
                 FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[])
                 ON CONFLICT (network_server_id, dev_eui) DO UPDATE SET
                    tenant_id = excluded.tenant_id, device_id = excluded.device_id, force = false, ",
                anew!(),
                " RETURNING s.network_server_id, s.dev_eui, s.generation, s.synced_generation"
            ),
        ),
        (
            changed,
            concat!(
                "UPDATE device_sync AS s SET
                    tenant_id = v.tenant_id, device_id = v.device_id,
                    force = (s.force AND s.synced_generation < s.generation), ",
                anew!(),
                " FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[])
                    AS v (network_server_id, dev_eui, tenant_id, device_id)
                 WHERE s.network_server_id = v.network_server_id AND s.dev_eui = v.dev_eui
                 RETURNING s.network_server_id, s.dev_eui, s.generation, s.synced_generation"
            ),
        ),
    ] {
        if rows.is_empty() {
            continue;
        }
        let written: Vec<Made> = sqlx::query_as(statement)
            .bind(column(&rows, |row| row.key.server.as_uuid()))
            .bind(column(&rows, |row| row.key.dev_eui.to_string()))
            .bind(column(&rows, |row| row.tenant_id.as_uuid()))
            .bind(column(&rows, |row| row.device_id.as_uuid()))
            .fetch_all(&mut *connection)
            .await?;
        made.extend(written);
    }
    Ok(made)
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
    connection: &mut PgConnection,
    server: NetworkServerId,
) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "UPDATE device_sync SET ",
        anew!(),
        " WHERE network_server_id = $1"
    ))
    .bind(server.as_uuid())
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

async fn store(
    connection: &mut PgConnection,
    rounds: &[Vec<&SyncChange>],
) -> Result<(), sqlx::Error> {
    for round in rounds {
        let gone: Vec<&SyncChange> = round.iter().filter(|change| change.gone).copied().collect();
        if !gone.is_empty() {
            delete(connection, &gone).await?;
        }
        update(connection, round).await?;
    }
    Ok(())
}

/// Takes away what is gone, if nothing else is wanted since.
async fn delete(connection: &mut PgConnection, rows: &[&SyncChange]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM device_sync AS s
         USING unnest($1::uuid[], $2::text[], $3::bigint[]) AS v (network_server_id, dev_eui, generation)
         WHERE s.network_server_id = v.network_server_id AND s.dev_eui = v.dev_eui AND s.generation = v.generation
            AND NOT EXISTS (
                SELECT 1 FROM device AS d
                WHERE d.network_server_id = v.network_server_id AND d.dev_eui = v.dev_eui
                    AND d.chirpstack_app_id IS NOT NULL AND d.device_profile_id IS NOT NULL
            )",
    )
    .bind(column(rows, |row| row.key.server.as_uuid()))
    .bind(column(rows, |row| row.key.dev_eui.to_string()))
    .bind(column(rows, |row| of_generation(row.generation)))
    .execute(connection)
    .await
    .map(drop)
}

/// What is known of `ChirpStack` is kept whatever has been wished since; how far the wish is, only of the newest one.
async fn update(connection: &mut PgConnection, rows: &[&SyncChange]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE device_sync AS s SET
            machine = v.machine,
            synced_generation = greatest(s.synced_generation, least(v.synced_generation, s.generation)),
            sync_state = CASE WHEN s.generation = v.generation THEN v.sync_state ELSE s.sync_state END,
            sync_error = CASE WHEN s.generation = v.generation THEN v.sync_error ELSE s.sync_error END,
            sync_attempts = CASE WHEN s.generation = v.generation THEN v.sync_attempts ELSE s.sync_attempts END,
            next_attempt_at = CASE WHEN s.generation = v.generation THEN v.next_attempt_at ELSE s.next_attempt_at END,
            unfinished = CASE WHEN s.generation = v.generation THEN v.unfinished ELSE s.unfinished END
         FROM unnest(
            $1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::bigint[],
            $9::bigint[], $10::boolean[]
         ) AS v (
            network_server_id, dev_eui, generation, machine, synced_generation, sync_state, sync_error, sync_attempts,
            next_attempt_at, unfinished
         )
         WHERE s.network_server_id = v.network_server_id AND s.dev_eui = v.dev_eui",
    )
    .bind(column(rows, |row| row.key.server.as_uuid()))
    .bind(column(rows, |row| row.key.dev_eui.to_string()))
    .bind(column(rows, |row| of_generation(row.generation)))
    .bind(column(rows, |row| row.machine.clone()))
    .bind(column(rows, |row| of_generation(row.synced_generation)))
    .bind(column(rows, |row| row.status.state.name()))
    .bind(column(rows, |row| {
        let error = row.status.error.as_deref();
        error.map(|error| text(error).into_owned())
    }))
    .bind(column(rows, |row| i64::from(row.status.attempts)))
    .bind(column(rows, |row| row.status.next_attempt_at.map(millis)))
    .bind(column(rows, |row| row.unfinished))
    .execute(connection)
    .await
    .map(drop)
}
