//! The history of devices.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DeviceId, NetworkServerId};
use downbeat_core::pacer::SentLately;
use downbeat_core::time::Timestamp;
use sqlx::QueryBuilder;

use super::{Sqlite, push_scope, store_error};
use crate::store::row::{EventRow, SentRow, first_id_of, sent_lately};
use crate::store::{Cursor, DELETE_BATCH_MAX, DeviceEvent, Page, PageRequest, Scope};

impl Sqlite {
    pub(in crate::store) async fn list_device_events(
        &self,
        scope: Scope,
        device_id: DeviceId,
        kind: Option<&str>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        page: PageRequest,
    ) -> Result<Page<DeviceEvent>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT id, device_id, at, kind, body FROM device_event WHERE device_id = ",
        );
        query.push_bind(device_id.as_uuid());
        push_scope(&mut query, scope);
        if let Some(kind) = kind {
            query.push(" AND kind = ").push_bind(kind);
        }
        // The ids begin with the time, so they alone are the order.
        if let Some(from) = from {
            query.push(" AND id >= ").push_bind(first_id_of(from));
        }
        if let Some(to) = to {
            query.push(" AND id < ").push_bind(first_id_of(to));
        }
        if let Some(Cursor { id, .. }) = page.after {
            query.push(" AND id < ").push_bind(id);
        }
        query
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(page.rows());
        let rows: Vec<EventRow> = query
            .build_query_as()
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        let events = rows
            .into_iter()
            .map(DeviceEvent::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::of(events, page, |event| Cursor {
            at: event.at,
            id: event.id,
        }))
    }

    pub(in crate::store) async fn sent_since(
        &self,
        server: NetworkServerId,
        since: Timestamp,
    ) -> Result<SentLately, StoreError> {
        let rows: Vec<SentRow> = sqlx::query_as(
            "SELECT event.at, event.kind, event.body FROM device_event AS event
             JOIN device ON device.id = event.device_id
             WHERE event.id >= ?1 AND event.kind IN ('txack', 'no_txack') AND device.network_server_id = ?2
             ORDER BY event.id",
        )
        .bind(first_id_of(since))
        .bind(server.as_uuid())
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        Ok(sent_lately(rows))
    }

    pub(in crate::store) async fn delete_device_events_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.read_ahead(
            "SELECT sum(length(old.body)) FROM (
                SELECT id, device_id, body FROM device_event WHERE id < ?1 ORDER BY id LIMIT ?2
             ) AS old
             JOIN device_event AS entry INDEXED BY device_event_device_idx
                ON entry.device_id = old.device_id AND entry.id = old.id",
            first_id_of(before),
        )
        .await?;
        self.write(move |connection| {
            Box::pin(async move {
                let deleted = sqlx::query(
                    "DELETE FROM device_event WHERE id IN (
                        SELECT id FROM device_event WHERE id < ?1 ORDER BY id LIMIT ?2
                     )",
                )
                .bind(first_id_of(before))
                .bind(DELETE_BATCH_MAX)
                .execute(connection)
                .await
                .map_err(store_error)?;
                Ok(deleted.rows_affected())
            })
        })
        .await
    }
}
