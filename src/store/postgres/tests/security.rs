//! Raw SQL through the service's role: whatever a query forgets, another tenant's row is not there.
//!
//! The tables are those that the database has, so that a new one is covered by itself; it only has to get rows of both
//! tenants in [`two_tenants`].

use downbeat_core::id::TenantId;
use sqlx::AssertSqlSafe;

use super::super::session::Access;
use super::tables::{PLATFORMS, REFUSED, Table, begin, changed, two_tenants, viewers_key};
use super::{fresh, postgres, superuser};
use crate::store::Scope;
use crate::store::conformance::{by, new_tenant};

/// PostgreSQL's `foreign_key_violation`.
const REFERRED_TO: &str = "23503";

#[tokio::test]
async fn every_table_is_protected_from_its_owner_too() {
    let (_store, database) = fresh().await;
    for table in Table::all(&mut superuser(&database).await).await {
        assert!(table.protected, "{}", table.name);
        assert_eq!(
            table.tenant_column.is_none(),
            PLATFORMS.contains(&&*table.name),
            "{}",
            table.name
        );
    }
}

#[tokio::test]
async fn a_tenant_touches_its_own_rows_alone() {
    let (store, database) = fresh().await;
    let (mine, others) = two_tenants(&store).await;
    let mut root = superuser(&database).await;
    for table in Table::all(&mut root).await {
        let (name, column) = (&table.name, table.column());
        let own = table.rows_of(&mut root, mine).await;
        let anothers_row = table.row_of(&mut root, others).await;
        let visible = table
            .visible(&mut *begin(&store, Scope::Tenant(mine)).await)
            .await;
        assert_eq!(visible, own, "{name}");

        let mut attempts = vec![
            (format!("UPDATE {name} SET {column} = {column}"), None),
            (format!("DELETE FROM {name}"), None),
            (format!("TRUNCATE {name} CASCADE"), Some(REFUSED)),
            (
                format!("ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"),
                Some(REFUSED),
            ),
        ];
        if table.tenant_column.is_some() {
            let give_away = format!("UPDATE {name} SET {column} = '{}'", others.as_uuid());
            attempts.push((give_away, Some(REFUSED)));
        }
        for (sql, refused) in attempts {
            let mut transaction = begin(&store, Scope::Tenant(mine)).await;
            let result = changed(&mut transaction, sql.clone(), None).await;
            match (result, refused) {
                (Ok(rows), None) => assert_eq!(rows, own, "{sql}"),
                (Ok(_), Some(_)) => panic!("{sql} was not refused"),
                // A tenant with devices stays.
                (Err(code), None) if code == REFERRED_TO => assert_eq!(name, "tenant"),
                (Err(code), _) => assert_eq!(code, REFUSED, "{sql}"),
            }
        }
        let mut transaction = begin(&store, Scope::Tenant(mine)).await;
        let inserted = changed(
            &mut transaction,
            table.insert(&mut root).await,
            Some(&anothers_row),
        )
        .await;
        assert_eq!(inserted, Err(REFUSED.to_owned()), "{name}");
    }
}

#[tokio::test]
async fn without_a_tenant_there_is_nothing() {
    let (store, database) = fresh().await;
    let (mine, _) = two_tenants(&store).await;
    let mut root = superuser(&database).await;
    let mut service = superuser(&database).await;
    sqlx::raw_sql("SET ROLE downbeat_service")
        .execute(&mut service)
        .await
        .unwrap();
    let left_behind =
        "BEGIN; SET LOCAL downbeat.tenants = ''; SET LOCAL downbeat.scope = 'platform'; COMMIT";
    for prepare in ["SELECT 1", left_behind] {
        sqlx::raw_sql(prepare).execute(&mut service).await.unwrap();
        for table in Table::all(&mut root).await {
            let row = table.row_of(&mut root, mine).await;
            assert_eq!(table.visible(&mut service).await, 0, "{}", table.name);
            let inserted = changed(&mut service, table.insert(&mut root).await, Some(&row)).await;
            assert_eq!(inserted, Err(REFUSED.to_owned()), "{}", table.name);
            for sql in [
                format!("UPDATE {0} SET {1} = {1}", table.name, table.column()),
                format!("DELETE FROM {}", table.name),
            ] {
                match changed(&mut service, sql, None).await {
                    Ok(rows) => assert_eq!(rows, 0, "{}", table.name),
                    Err(code) => assert_eq!(code, REFUSED, "{}", table.name),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_batch_sees_its_tenants_and_the_platform_all() {
    let (store, _database) = fresh().await;
    let (mine, others) = two_tenants(&store).await;
    let third = new_tenant(&store, "third").await;
    let devices = async |access: Access<'_>| {
        let mut transaction = begin(&store, access).await;
        let devices = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM device");
        devices.fetch_one(&mut *transaction).await.unwrap()
    };
    assert_eq!(devices(Access::Tenants(&[])).await, 0);
    assert_eq!(devices(Access::Tenants(&[mine, third])).await, 1);
    assert_eq!(devices(Access::Tenants(&[mine, others])).await, 3);
    assert_eq!(devices(Access::Platform).await, 3);
    // Keys of the platform are no tenant's.
    let key = viewers_key(None);
    store.create_api_key(&key, &[9; 32], &by()).await.unwrap();
    let mut transaction = begin(&store, Access::Tenants(&[mine, others, third])).await;
    let keys = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM api_key WHERE tenant_id IS NULL");
    assert_eq!(keys.fetch_one(&mut *transaction).await.unwrap(), 0);
}

#[tokio::test]
async fn a_transaction_that_reads_does_not_write() {
    let (store, _database) = fresh().await;
    let mut transaction = postgres(&store)
        .sessions
        .begin_to_read(Scope::Platform)
        .await
        .unwrap();
    let written = changed(&mut transaction, "DELETE FROM device".to_owned(), None).await;
    assert_eq!(written, Err("25006".to_owned()));
}

#[tokio::test]
async fn a_transaction_given_up_leaves_nothing_behind() {
    let (store, _database) = fresh().await;
    two_tenants(&store).await;
    for _ in 0..50 {
        // Dropped before the server has answered.
        let begun = postgres(&store).sessions.begin(Scope::Platform);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(50), begun).await;
    }
    for _ in 0..20 {
        let mut transaction = begin(&store, Access::Tenants(&[])).await;
        let state: (i64, String) =
            sqlx::query_as("SELECT count(*), current_setting('transaction_isolation') FROM device")
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
        assert_eq!(state, (0, "read committed".to_owned()));
    }
}

/// What lists and batches ask, and the index that has to answer.
const PLANS: &[(&str, &str)] = &[
        (
            "SELECT * FROM device WHERE tenant_id = 'T' ORDER BY created_at, id LIMIT 1",
            "device_tenant_idx",
        ),
        (
            "SELECT * FROM device ORDER BY created_at, id LIMIT 1",
            "device_created_idx",
        ),
        (
            "SELECT * FROM device WHERE dev_eui = 'e' ORDER BY network_server_id LIMIT 1",
            "device_dev_eui_idx",
        ),
        (
            "SELECT * FROM device WHERE network_server_id = 'T' AND dev_eui = 'e'",
            "device_dev_eui_unique",
        ),
        (
            "SELECT * FROM device WHERE tenant_id = 'T' AND dev_eui > '' ORDER BY dev_eui LIMIT 1",
            "device_tenant_dev_eui_idx",
        ),
        (
            "SELECT dev_eui FROM device WHERE unfinished AND dev_eui IS NOT NULL ORDER BY dev_eui, network_server_id",
            "device_unfinished_idx",
        ),
        (
            "SELECT dev_eui FROM device
             WHERE presence = 'online' AND uplink_interval_ms IS NULL AND last_seen_at_look <= 7
             ORDER BY last_seen_at_look LIMIT 1",
            "device_silent_idx",
        ),
        (
            "SELECT dev_eui FROM device
             WHERE presence = 'online' AND uplink_interval_ms IS NOT NULL AND silent_from <= 7
             ORDER BY silent_from LIMIT 1",
            "device_silent_own_idx",
        ),
        (
            "SELECT * FROM device_sync WHERE network_server_id = 'T' AND unfinished
             ORDER BY next_attempt_at NULLS FIRST, dev_eui LIMIT 1",
            "device_sync_unfinished_idx",
        ),
        (
            "SELECT * FROM downlink WHERE tenant_id = 'T' AND (created_at, id) < (7, 'T')
             ORDER BY created_at DESC, id DESC LIMIT 1",
            "downlink_tenant_idx",
        ),
        (
            "SELECT * FROM downlink WHERE dev_eui = 'e' ORDER BY created_at DESC, id DESC LIMIT 1",
            "downlink_dev_eui_idx",
        ),
        (
            "SELECT * FROM downlink ORDER BY created_at DESC, id DESC LIMIT 1",
            "downlink_created_idx",
        ),
        (
            "SELECT * FROM downlink WHERE device_id = 'T' ORDER BY created_at DESC, id DESC LIMIT 1",
            "downlink_device_idx",
        ),
        (
            "SELECT id FROM downlink WHERE created_at < 7 AND finished_at < 7 ORDER BY created_at, id LIMIT 1",
            "downlink_created_idx",
        ),
        (
            "SELECT * FROM downlink_step WHERE downlink_id = 'T' ORDER BY seq",
            "downlink_step_pkey",
        ),
        (
            "SELECT * FROM device_event WHERE device_id = 'T' AND id < 'T' ORDER BY id DESC LIMIT 1",
            "device_event_device_idx",
        ),
        (
            "SELECT * FROM telemetry_report WHERE device_id = 'T' AND fields ? 'b' AND at >= 0 AND at < 7",
            "telemetry_report_pkey",
        ),
        (
            "SELECT * FROM telemetry WHERE device_id = 'T' AND field = 'b' AND at >= 0 AND at < 7 ORDER BY at LIMIT 1",
            "telemetry_pkey",
        ),
        (
            "SELECT field FROM telemetry WHERE device_id = 'T' AND field > 'a' ORDER BY field LIMIT 1",
            "telemetry_pkey",
        ),
        (
            "SELECT * FROM audit WHERE tenant_id = 'T' ORDER BY at DESC, id DESC LIMIT 1",
            "audit_tenant_idx",
        ),
        (
            "SELECT * FROM audit ORDER BY at DESC, id DESC LIMIT 1",
            "audit_at_idx",
        ),
        (
            "SELECT * FROM unclaimed WHERE tenant_id = 'T' ORDER BY first_seen DESC, id DESC LIMIT 1",
            "unclaimed_tenant_idx",
        ),
        (
            "UPDATE device SET version = 1 FROM unnest(ARRAY['T']::uuid[], ARRAY['e']) AS v (id, dev_eui)
             WHERE device.id = v.id AND device.dev_eui = v.dev_eui",
            "Index Scan using device_",
        ),
        (
            "UPDATE device_sync AS s SET machine = '' FROM unnest(ARRAY['T']::uuid[], ARRAY['e']) AS v (id, dev_eui)
             WHERE s.network_server_id = v.id AND s.dev_eui = v.dev_eui",
            "device_sync_pkey",
        ),
    ];

/// Enough rows of many tenants for the planner to have a choice. Few of them are silent or have work under way.
fn crowd(mine: TenantId, others: TenantId) -> String {
    let (mine, others) = (mine.as_uuid(), others.as_uuid());
    format!(
        "INSERT INTO device
            (id, tenant_id, name, description, device_type, tags, codec, dev_eui, created_at, updated_at, presence,
             last_seen, last_seen_at_look, uplink_interval_ms)
         SELECT gen_random_uuid(), CASE WHEN n % 50 = 0 THEN '{mine}'::uuid ELSE '{others}' END, '', '', '', '{{}}', 'raw',
                lpad(to_hex(n), 16, '0'), n, n, 'online', n, n, nullif(n % 2, 0)
         FROM generate_series(1, 5000) AS n;
         INSERT INTO device_sync (network_server_id, dev_eui, tenant_id, device_id, generation, unfinished, next_attempt_at)
         SELECT '{mine}', dev_eui, tenant_id, id, 1, created_at % 50 = 0, created_at FROM device WHERE dev_eui IS NOT NULL;
         INSERT INTO downlink
            (id, device_id, tenant_id, dev_eui, state, attempts, created_at, updated_at, finished_at, steps, body)
         SELECT gen_random_uuid(), id, tenant_id, dev_eui, 'verified', 1, created_at, created_at, created_at, 1, '{{}}' FROM device;
         INSERT INTO downlink_step (downlink_id, tenant_id, seq, at, body)
         SELECT id, tenant_id, 1, created_at, '{{}}' FROM downlink;
         INSERT INTO device_event (id, device_id, tenant_id, at, kind, body)
         SELECT gen_random_uuid(), id, tenant_id, created_at, 'up', '{{}}' FROM device;
         INSERT INTO telemetry (device_id, field, at, tenant_id, number)
         SELECT id, field, 0, tenant_id, 1 FROM device, unnest(ARRAY['b', 'c']) AS field;
         INSERT INTO telemetry_report (device_id, at, tenant_id, fields)
         SELECT id, at, tenant_id, jsonb_build_object('b', 1) FROM device, generate_series(1, 3) AS at;
         INSERT INTO audit (id, at, tenant_id, by_name, action, object_id)
         SELECT gen_random_uuid(), created_at, tenant_id, '', '', '' FROM device;
         INSERT INTO unclaimed (id, tenant_id, network_server_id, dev_eui, name, first_seen, last_seen, events)
         SELECT id, tenant_id, tenant_id, dev_eui, '', created_at, created_at, 1 FROM device;
         ANALYZE"
    )
}

#[tokio::test]
async fn lists_and_batches_use_their_indexes_under_the_policies() {
    let (store, database) = fresh().await;
    let (mine, others) = two_tenants(&store).await;
    sqlx::raw_sql(AssertSqlSafe(crowd(mine, others)))
        .execute(&mut superuser(&database).await)
        .await
        .unwrap();
    for (sql, index) in PLANS {
        let mut transaction = begin(&store, Scope::Tenant(mine)).await;
        let explain = format!(
            "EXPLAIN {}",
            sql.replace("'T'", &format!("'{}'", mine.as_uuid()))
        );
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain))
            .fetch_all(&mut *transaction)
            .await
            .unwrap();
        assert!(
            plan.iter().any(|line| line.contains(index)),
            "{sql}\n{plan:#?}"
        );
        // The settings are asked once a statement.
        assert!(
            plan.iter().any(|line| line.contains("InitPlan")),
            "{sql}\n{plan:#?}"
        );
        assert!(
            !plan
                .iter()
                .any(|line| line.contains("SubPlan") || line.contains("Sort")),
            "{sql}\n{plan:#?}"
        );
    }
}
