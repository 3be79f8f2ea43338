//! The audit log.

use std::borrow::Borrow;

use downbeat_actors::port::StoreError;
use sqlx::{QueryBuilder, Sqlite as Db, SqliteConnection};

use super::rows::{ROWS_MAX, push_rows};
use super::{Sqlite, push_scope, store_error};
use crate::store::row::{AuditRow, AuditValues, millis};
use crate::store::{AuditEntry, AuditFilter, Cursor, Page, PageRequest, Scope};

impl Sqlite {
    pub(in crate::store) async fn append_audit(
        &self,
        entries: &[AuditEntry],
    ) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let entries = entries.to_vec();
        self.write(move |connection| {
            Box::pin(async move { append_all(connection, &entries).await })
        })
        .await
    }

    pub(in crate::store) async fn list_audit(
        &self,
        scope: Scope,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM audit WHERE true");
        push_scope(&mut query, scope);
        if let Some(action) = &filter.action {
            query.push(" AND (action = ").push_bind(action);
            // Not LIKE: `%` and `_` are letters like any other.
            query
                .push(" OR substr(action, 1, length(")
                .push_bind(action);
            query.push(") + 1) = ").push_bind(format!("{action}."));
            query.push(")");
        }
        if let Some(object_id) = &filter.object_id {
            query.push(" AND object_id = ").push_bind(object_id);
        }
        if let Some(key_id) = filter.key_id {
            query.push(" AND key_id = ").push_bind(key_id.as_uuid());
        }
        if let Some(from) = filter.from {
            query.push(" AND at >= ").push_bind(millis(from));
        }
        if let Some(to) = filter.to {
            query.push(" AND at < ").push_bind(millis(to));
        }
        if let Some(Cursor { at, id }) = page.after {
            query.push(" AND (at, id) < (").push_bind(millis(at));
            query.push(", ").push_bind(id).push(")");
        }
        query
            .push(" ORDER BY at DESC, id DESC LIMIT ")
            .push_bind(page.rows());
        let rows: Vec<AuditRow> = query
            .build_query_as()
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        let entries = rows
            .into_iter()
            .map(AuditEntry::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::of(entries, page, |entry: &AuditEntry| Cursor {
            at: entry.at,
            id: entry.id,
        }))
    }
}

/// Adds one entry in the transaction of what it tells.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let mut query = QueryBuilder::default();
    push_audit(&mut query, &[entry]);
    let done = query.build().execute(connection).await;
    done.map(drop).map_err(store_error)
}

async fn append_all(
    connection: &mut SqliteConnection,
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    for rows in entries.chunks(ROWS_MAX) {
        let mut query = QueryBuilder::new("");
        push_audit(&mut query, rows);
        query
            .build()
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

/// Adds a statement that adds entries.
pub(super) fn push_audit<E: Borrow<AuditEntry>>(query: &mut QueryBuilder<Db>, entries: &[E]) {
    query.push(
        "INSERT INTO audit
            (id, at, tenant_id, key_id, by_name, address, request_id, action, object_id, before, after)
         SELECT * FROM (",
    );
    push_rows(query, 11, entries, |row, entry| {
        let entry = entry.borrow();
        let values = AuditValues::of(entry);
        row.push_bind(entry.id)
            .push_bind(values.at)
            .push_bind(values.tenant_id)
            .push_bind(entry.by.key_id)
            .push_bind(&entry.by.name)
            .push_bind(values.address)
            .push_bind(&entry.by.request_id)
            .push_bind(&entry.action)
            .push_bind(&entry.object_id)
            .push_bind(values.before)
            .push_bind(values.after);
    });
    query.push(") AS v WHERE v.column1 IS NOT NULL ON CONFLICT (id) DO NOTHING");
}
