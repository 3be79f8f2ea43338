//! The audit log.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres as Db, QueryBuilder};

use super::error::store_error;
use super::session::Access;
use super::text::text;
use super::{Postgres, push_scope};
use crate::store::row::{AuditRow, AuditValues, millis};
use crate::store::{AuditEntry, AuditFilter, Cursor, Page, PageRequest, Scope};

impl Postgres {
    pub(in crate::store) async fn append_audit(
        &self,
        entries: &[AuditEntry],
    ) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let tenants: Option<Vec<TenantId>> = entries.iter().map(|entry| entry.tenant_id).collect();
        // What is nobody's in particular is the platform's.
        let access = tenants.as_deref().map_or(Access::Platform, Access::Tenants);
        let mut transaction = self.sessions.begin(access).await?;
        let entries: Vec<&AuditEntry> = entries.iter().collect();
        insert_audit(&entries)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn list_audit(
        &self,
        scope: Scope,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut query = QueryBuilder::new("SELECT * FROM audit WHERE true");
        push_scope(&mut query, scope);
        if let Some(action) = &filter.action {
            let action = text(action);
            query
                .push(" AND (action = ")
                .push_bind(action.clone().into_owned());
            // Not LIKE: `%` and `_` are letters like any other.
            query
                .push(" OR starts_with(action, ")
                .push_bind(format!("{action}."))
                .push("))");
        }
        if let Some(object_id) = &filter.object_id {
            query
                .push(" AND object_id = ")
                .push_bind(text(object_id).into_owned());
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
            .fetch_all(&mut *transaction)
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
    connection: &mut PgConnection,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let done = insert_audit(&[entry]).execute(connection).await;
    done.map(drop).map_err(store_error)
}

pub(super) const INSERT_AUDIT: &str = "INSERT INTO audit
            (id, at, tenant_id, key_id, by_name, address, request_id, action, object_id, before, after)
         SELECT * FROM unnest(
            $1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::text[]
         )
         ON CONFLICT (id) DO NOTHING";

pub(super) fn insert_audit<'q>(entries: &[&AuditEntry]) -> Query<'q, Db, PgArguments> {
    bind_audit(sqlx::query(INSERT_AUDIT), entries)
}

pub(super) fn bind_audit<'q>(
    query: Query<'q, Db, PgArguments>,
    entries: &[&AuditEntry],
) -> Query<'q, Db, PgArguments> {
    let values: Vec<AuditValues> = entries.iter().map(|entry| AuditValues::of(entry)).collect();
    let plain = |value: &Option<String>| value.as_deref().map(|value| text(value).into_owned());
    query
        .bind(column(entries, |entry| entry.id))
        .bind(column(&values, |values| values.at))
        .bind(column(&values, |values| values.tenant_id))
        .bind(column(entries, |entry| entry.by.key_id))
        .bind(column(entries, |entry| text(&entry.by.name).into_owned()))
        .bind(column(&values, |values| values.address.clone()))
        .bind(column(entries, |entry| plain(&entry.by.request_id)))
        .bind(column(entries, |entry| text(&entry.action).into_owned()))
        .bind(column(entries, |entry| text(&entry.object_id).into_owned()))
        .bind(column(&values, |values| values.before.clone()))
        .bind(column(&values, |values| values.after.clone()))
}

/// One column of all rows.
pub(super) fn column<'a, R, V>(rows: &'a [R], value: impl Fn(&'a R) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}
