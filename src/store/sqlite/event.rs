//! The history of devices.

use downbeat_actors::port::StoreError;
use downbeat_core::id::DeviceId;
use downbeat_core::time::Timestamp;
use serde_json::value::RawValue;
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::{Sqlite, corrupt, instant, push_scope, store_error};
use crate::store::{Cursor, DELETE_BATCH_MAX, DeviceEvent, Page, PageRequest, Scope};

#[derive(FromRow)]
struct EventRow {
    id: Uuid,
    device_id: Uuid,
    at: i64,
    kind: String,
    body: String,
}

impl TryFrom<EventRow> for DeviceEvent {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let body = RawValue::from_string(row.body)
            .map_err(|error| corrupt("device_event", "body", &row.id, error))?;
        Ok(Self {
            id: row.id,
            device_id: DeviceId::from_uuid(row.device_id),
            at: instant(row.at),
            kind: row.kind,
            body,
        })
    }
}

impl Sqlite {
    pub(in crate::store) async fn list_device_events(
        &self,
        scope: Scope,
        device_id: DeviceId,
        page: PageRequest,
    ) -> Result<Page<DeviceEvent>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT id, device_id, at, kind, body FROM device_event WHERE device_id = ",
        );
        query.push_bind(device_id.as_uuid());
        push_scope(&mut query, scope);
        // The ids begin with the time, so they alone are the order.
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

    pub(in crate::store) async fn delete_device_events_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let deleted = sqlx::query(
            "DELETE FROM device_event WHERE id IN (SELECT id FROM device_event WHERE id < ?1 ORDER BY id LIMIT ?2)",
        )
        .bind(first_id_of(before))
        .bind(i64::from(DELETE_BATCH_MAX))
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        Ok(deleted.rows_affected())
    }
}

/// The id of an event: its time, then a digest of what it says. The same event, stored again, has the same id.
pub(super) fn event_id(device_id: DeviceId, at: Timestamp, kind: &str, body: &str) -> Uuid {
    use sha2::{Digest, Sha256};

    let digest = Sha256::new()
        .chain_update(device_id.as_uuid().as_bytes())
        .chain_update(kind.as_bytes())
        .chain_update([0])
        .chain_update(body.as_bytes())
        .finalize();
    let mut tail = [0; 10];
    tail.copy_from_slice(&digest[..10]);
    uuid_of(at, tail)
}

/// Not greater than the id of any event of that time or later.
fn first_id_of(at: Timestamp) -> Uuid {
    uuid_of(at, [0; 10])
}

/// A `UUIDv7`; times before 1970 count as 1970.
fn uuid_of(at: Timestamp, tail: [u8; 10]) -> Uuid {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}
