//! Devices that nobody has registered.

use std::collections::BTreeSet;

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, TenantId};
use sqlx::{QueryBuilder, SqliteConnection};
use uuid::Uuid;

use super::{Sqlite, push_scope, store_error};
use crate::store::row::{UnclaimedRow, instant, millis, tenant_of};
use crate::store::{
    Cursor, Page, PageRequest, Scope, UNCLAIMED_MAX, UnclaimedDevice, UnclaimedSighting,
};

impl Sqlite {
    pub(in crate::store) async fn note_unclaimed(
        &self,
        sightings: &[UnclaimedSighting],
    ) -> Result<(), StoreError> {
        if sightings.is_empty() {
            return Ok(());
        }
        let sightings = sightings.to_vec();
        self.write(move |connection| {
            Box::pin(async move {
                let noted = note(connection, &sightings).await;
                noted.map_err(store_error)
            })
        })
        .await
    }

    pub(in crate::store) async fn list_unclaimed(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<UnclaimedDevice>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM unclaimed WHERE true");
        push_scope(&mut query, scope);
        if let Some(Cursor { at, id }) = page.after {
            query
                .push(" AND (first_seen, id) < (")
                .push_bind(millis(at));
            query.push(", ").push_bind(id).push(")");
        }
        query
            .push(" ORDER BY first_seen DESC, id DESC LIMIT ")
            .push_bind(page.rows());
        let rows: Vec<UnclaimedRow> = query
            .build_query_as()
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        let rows = Page::of(rows, page, |row: &UnclaimedRow| Cursor {
            at: instant(row.first_seen),
            id: row.id,
        });
        rows.try_map(UnclaimedDevice::try_from)
    }

    pub(in crate::store) async fn unclaimed(
        &self,
        scope: Scope,
        dev_eui: DevEui,
    ) -> Result<Option<UnclaimedDevice>, StoreError> {
        let row: Option<UnclaimedRow> = sqlx::query_as(
            "SELECT * FROM unclaimed WHERE dev_eui = ?1 AND (?2 IS NULL OR tenant_id = ?2)
             ORDER BY last_seen DESC, id DESC LIMIT 1",
        )
        .bind(dev_eui.to_string())
        .bind(tenant_of(scope))
        .fetch_optional(&self.readers)
        .await
        .map_err(store_error)?;
        row.map(UnclaimedDevice::try_from).transpose()
    }

    pub(in crate::store) async fn forget_unclaimed(
        &self,
        scope: Scope,
        dev_eui: DevEui,
    ) -> Result<bool, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let forgotten = sqlx::query(
                    "DELETE FROM unclaimed WHERE dev_eui = ?1 AND (?2 IS NULL OR tenant_id = ?2)",
                )
                .bind(dev_eui.to_string())
                .bind(tenant_of(scope))
                .execute(connection)
                .await
                .map_err(store_error)?;
                Ok(forgotten.rows_affected() > 0)
            })
        })
        .await
    }
}

async fn note(
    connection: &mut SqliteConnection,
    sightings: &[UnclaimedSighting],
) -> Result<(), sqlx::Error> {
    for sighting in sightings {
        // Between the sighting and this, it may have been registered, and its tenant may have gone.
        sqlx::query(
            "INSERT INTO unclaimed
                (id, tenant_id, network_server_id, dev_eui, name, application_id, device_profile_id, first_seen,
                 last_seen, events, rssi_dbm)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10
             WHERE NOT EXISTS (SELECT 1 FROM device WHERE network_server_id = ?3 AND dev_eui = ?4)
                AND (?2 = zeroblob(16) OR EXISTS (SELECT 1 FROM tenant WHERE id = ?2))
             ON CONFLICT (tenant_id, network_server_id, dev_eui) DO UPDATE SET
                name = CASE WHEN excluded.name <> '' THEN excluded.name ELSE name END,
                application_id = coalesce(excluded.application_id, application_id),
                device_profile_id = coalesce(excluded.device_profile_id, device_profile_id),
                last_seen = max(excluded.last_seen, last_seen),
                events = min(events + excluded.events, 4294967295),
                rssi_dbm = coalesce(excluded.rssi_dbm, rssi_dbm)",
        )
        .bind(Uuid::now_v7())
        .bind(owner(sighting))
        .bind(sighting.key.server.as_uuid())
        .bind(sighting.key.dev_eui.to_string())
        .bind(&sighting.name)
        .bind(sighting.application_id.map(|id| id.to_string()))
        .bind(sighting.device_profile_id.map(|id| id.to_string()))
        .bind(millis(sighting.at))
        .bind(sighting.events)
        .bind(sighting.rssi_dbm)
        .execute(&mut *connection)
        .await?;
    }
    let owners: BTreeSet<Uuid> = sightings.iter().map(owner).collect();
    for owner in owners {
        sqlx::query(
            "DELETE FROM unclaimed WHERE id IN (
                SELECT id FROM unclaimed WHERE tenant_id = ?1 ORDER BY last_seen DESC LIMIT -1 OFFSET ?2
             )",
        )
        .bind(owner)
        .bind(UNCLAIMED_MAX)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Nil if it is not known: a primary key holds no `NULL`.
fn owner(sighting: &UnclaimedSighting) -> Uuid {
    sighting.tenant_id.map_or(Uuid::nil(), TenantId::as_uuid)
}
