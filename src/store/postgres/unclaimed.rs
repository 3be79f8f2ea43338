//! Devices that nobody has registered.

use std::collections::BTreeSet;

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, TenantId};
use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

use super::audit::column;
use super::error::store_error;
use super::session::Access;
use super::text::text;
use super::{Postgres, push_scope};
use crate::store::row::{UnclaimedRow, instant, millis};
use crate::store::{
    Cursor, Page, PageRequest, Scope, UNCLAIMED_MAX, UnclaimedDevice, UnclaimedSighting, rounds,
};

impl Postgres {
    pub(in crate::store) async fn note_unclaimed(
        &self,
        sightings: &[UnclaimedSighting],
    ) -> Result<(), StoreError> {
        if sightings.is_empty() {
            return Ok(());
        }
        // Who is registered is asked over all tenants.
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        for round in rounds(sightings, |sighting| (owner(sighting), sighting.key)) {
            let noted = note(&mut transaction, &round).await;
            noted.map_err(store_error)?;
        }
        let owners: BTreeSet<Uuid> = sightings.iter().map(owner).collect();
        let given_way = make_room(&mut transaction, owners).await;
        given_way.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn list_unclaimed(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<UnclaimedDevice>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
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
            .fetch_all(&mut *transaction)
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
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let row: Option<UnclaimedRow> = sqlx::query_as(
            "SELECT * FROM unclaimed WHERE dev_eui = $1 ORDER BY last_seen DESC, id DESC LIMIT 1",
        )
        .bind(dev_eui.to_string())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
        row.map(UnclaimedDevice::try_from).transpose()
    }

    pub(in crate::store) async fn forget_unclaimed(
        &self,
        scope: Scope,
        dev_eui: DevEui,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.sessions.begin(scope).await?;
        let forgotten = sqlx::query("DELETE FROM unclaimed WHERE dev_eui = $1")
            .bind(dev_eui.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(forgotten.rows_affected() > 0)
    }
}

/// Between the sighting and this, it may have been registered, and its tenant may have gone.
async fn note(
    connection: &mut PgConnection,
    rows: &[&UnclaimedSighting],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO unclaimed
            (id, tenant_id, network_server_id, dev_eui, name, application_id, device_profile_id, first_seen, last_seen,
             events, rssi_dbm)
         SELECT v.id, v.tenant_id, v.network_server_id, v.dev_eui, v.name, v.application_id, v.device_profile_id, v.at, v.at,
             v.events, v.rssi_dbm
         FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
            $10::integer[]
         ) AS v (
            id, tenant_id, network_server_id, dev_eui, name, application_id, device_profile_id, at, events, rssi_dbm
         )
         WHERE NOT EXISTS (
                SELECT 1 FROM device
                WHERE device.network_server_id = v.network_server_id AND device.dev_eui = v.dev_eui
            )
            AND (v.tenant_id = '00000000-0000-0000-0000-000000000000'
                OR EXISTS (SELECT 1 FROM tenant WHERE tenant.id = v.tenant_id))
         ON CONFLICT (tenant_id, network_server_id, dev_eui) DO UPDATE SET
            name = CASE WHEN excluded.name <> '' THEN excluded.name ELSE unclaimed.name END,
            application_id = coalesce(excluded.application_id, unclaimed.application_id),
            device_profile_id = coalesce(excluded.device_profile_id, unclaimed.device_profile_id),
            last_seen = greatest(excluded.last_seen, unclaimed.last_seen),
            events = least(unclaimed.events + excluded.events, 4294967295),
            rssi_dbm = coalesce(excluded.rssi_dbm, unclaimed.rssi_dbm)",
    )
    .bind(column(rows, |_| Uuid::now_v7()))
    .bind(column(rows, |row| owner(row)))
    .bind(column(rows, |row| row.key.server.as_uuid()))
    .bind(column(rows, |row| row.key.dev_eui.to_string()))
    .bind(column(rows, |row| text(&row.name).into_owned()))
    .bind(column(rows, |row| row.application_id.map(|id| id.to_string())))
    .bind(column(rows, |row| row.device_profile_id.map(|id| id.to_string())))
    .bind(column(rows, |row| millis(row.at)))
    .bind(column(rows, |row| i64::from(row.events)))
    .bind(column(rows, |row| row.rssi_dbm))
    .execute(connection)
    .await
    .map(drop)
}

/// Those not seen for longest give way.
async fn make_room(
    connection: &mut PgConnection,
    owners: BTreeSet<Uuid>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM unclaimed USING unnest($1::uuid[]) AS owner (id) CROSS JOIN LATERAL (
            SELECT unclaimed.id FROM unclaimed WHERE unclaimed.tenant_id = owner.id
            ORDER BY unclaimed.last_seen DESC OFFSET $2
         ) AS surplus
         WHERE unclaimed.id = surplus.id",
    )
    .bind(owners.into_iter().collect::<Vec<_>>())
    .bind(i64::from(UNCLAIMED_MAX))
    .execute(connection)
    .await
    .map(drop)
}

/// Nil if it is not known: a primary key holds no `NULL`.
fn owner(sighting: &UnclaimedSighting) -> Uuid {
    sighting.tenant_id.map_or(Uuid::nil(), TenantId::as_uuid)
}
