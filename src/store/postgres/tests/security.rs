//! Raw SQL through the service's role: whatever a query forgets, another tenant's row is not there.
//!
//! The tables are those that the database has, so that a new one is covered by itself; it only has to get rows of both
//! tenants in [`two_tenants`].

use downbeat_actors::port::{DeviceChange, DeviceStore as _, HistoryEntry};
use downbeat_core::device::DownlinkState;
use downbeat_core::id::TenantId;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Postgres as Db, Transaction};
use uuid::Uuid;

use super::super::session::Access;
use super::{fresh, postgres, superuser};
use crate::store::conformance::{
    at, change, default_tenant, downlink, new_tenant, record, register,
};
use crate::store::{ApiKey, ApiKeyId, IdempotencyKey, NewReservation, Role, Scope, Store};

/// What holds no tenant's rows: only read by the service.
const NOBODYS: [&str; 1] = ["_sqlx_migrations"];

/// PostgreSQL's `insufficient_privilege`: no grant, or a policy.
const REFUSED: &str = "42501";

#[derive(FromRow)]
struct Table {
    name: String,
    /// Whose a row is.
    tenant_column: Option<String>,
    protected: bool,
}

impl Table {
    /// All of the database.
    async fn all(connection: &mut PgConnection) -> Vec<Self> {
        let tables: Vec<Self> = sqlx::query_as(
            "SELECT relname::text AS name, relrowsecurity AND relforcerowsecurity AS protected,
                    CASE WHEN relname = 'tenant' THEN 'id'
                         ELSE (SELECT attname::text FROM pg_attribute
                               WHERE attrelid = pg_class.oid AND attname IN ('tenant_id', 'scope')) END AS tenant_column
             FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace ORDER BY relname",
        )
        .fetch_all(connection)
        .await
        .unwrap();
        assert!(tables.len() > 7);
        tables
            .into_iter()
            .filter(|table| !NOBODYS.contains(&&*table.name))
            .collect()
    }

    fn tenant_column(&self) -> &str {
        let column = self.tenant_column.as_deref();
        column.unwrap_or_else(|| panic!("{} tells no tenant", self.name))
    }

    /// How many rows a tenant has, as the superuser sees them.
    async fn rows_of(&self, connection: &mut PgConnection, tenant: TenantId) -> u64 {
        let sql = format!(
            "SELECT count(*) FROM {} WHERE {} = $1",
            self.name,
            self.tenant_column()
        );
        let rows = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).bind(tenant.as_uuid());
        let rows = u64::try_from(rows.fetch_one(connection).await.unwrap()).unwrap();
        assert!(rows > 0, "two_tenants() gives {} no row", self.name);
        rows
    }

    async fn visible(&self, connection: &mut PgConnection) -> u64 {
        let sql = format!("SELECT count(*) FROM {}", self.name);
        let rows = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(connection);
        u64::try_from(rows.await.unwrap()).unwrap()
    }

    /// A row as JSON, by the superuser.
    async fn row_of(&self, connection: &mut PgConnection, tenant: TenantId) -> String {
        let sql = format!(
            "SELECT to_jsonb(t)::text FROM {} AS t WHERE {} = $1 LIMIT 1",
            self.name,
            self.tenant_column()
        );
        let row = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant.as_uuid());
        row.fetch_one(connection).await.unwrap()
    }

    fn insert(&self) -> String {
        format!(
            "INSERT INTO {0} SELECT * FROM jsonb_populate_record(NULL::{0}, $1::jsonb)",
            self.name
        )
    }
}

/// How many rows a statement changed, or the code with which it was refused.
async fn changed(
    connection: &mut PgConnection,
    sql: String,
    row: Option<&str>,
) -> Result<u64, String> {
    let mut query = sqlx::query(AssertSqlSafe(sql));
    if let Some(row) = row {
        query = query.bind(row.to_owned());
    }
    match query.execute(connection).await {
        Ok(done) => Ok(done.rows_affected()),
        Err(error) => Err(error
            .as_database_error()
            .unwrap()
            .code()
            .unwrap()
            .into_owned()),
    }
}

async fn begin(store: &Store, access: impl Into<Access<'_>>) -> Transaction<'static, Db> {
    postgres(store).sessions.begin(access).await.unwrap()
}

/// Rows of two tenants in every table.
async fn two_tenants(store: &Store) -> (TenantId, TenantId) {
    let tenants = (
        default_tenant(store).await,
        new_tenant(store, "other").await,
    );
    for (number, tenant) in [(1, tenants.0), (2, tenants.1), (3, tenants.1)] {
        let device = register(store, tenant, number).await;
        let mut command = downlink(at(1));
        let change = DeviceChange {
            records: vec![record(&mut command, DownlinkState::Accepted, at(1))],
            history: Some(HistoryEntry {
                at: at(1),
                kind: "up",
                body: "{}".to_owned(),
            }),
            ..change(&device, "state", at(1))
        };
        store.commit(&[change]).await.unwrap();
        let hash = [u8::try_from(number).unwrap(); 32];
        let key = ApiKey {
            id: ApiKeyId::from_uuid(Uuid::now_v7()),
            tenant_id: Some(tenant),
            role: Role::Viewer,
            name: "a key".to_owned(),
            prefix: "db_".to_owned(),
            created_at: at(0),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        store.create_api_key(&key, &hash).await.unwrap();
        let reservation = NewReservation {
            key: IdempotencyKey {
                scope: Scope::Tenant(tenant),
                key_hash: hash,
                operation: "POST /".to_owned(),
            },
            request_hash: hash,
            resource_id: Uuid::now_v7(),
            at: at(0),
        };
        store.reserve(&reservation).await.unwrap();
    }
    tenants
}

#[tokio::test]
async fn every_table_is_protected_from_its_owner_too() {
    let (_store, database) = fresh().await;
    for table in Table::all(&mut superuser(&database).await).await {
        assert!(table.protected, "{}", table.name);
        table.tenant_column();
    }
}

#[tokio::test]
async fn a_tenant_touches_its_own_rows_alone() {
    let (store, database) = fresh().await;
    let (mine, others) = two_tenants(&store).await;
    let mut root = superuser(&database).await;
    for table in Table::all(&mut root).await {
        let (name, column) = (&table.name, table.tenant_column());
        let own = table.rows_of(&mut root, mine).await;
        let anothers_row = table.row_of(&mut root, others).await;
        let visible = table
            .visible(&mut *begin(&store, Scope::Tenant(mine)).await)
            .await;
        assert_eq!(visible, own, "{name}");

        let attempts = [
            (format!("UPDATE {name} SET {column} = {column}"), None),
            (format!("DELETE FROM {name}"), None),
            (
                format!("UPDATE {name} SET {column} = '{}'", others.as_uuid()),
                Some(REFUSED),
            ),
            (format!("TRUNCATE {name} CASCADE"), Some(REFUSED)),
            (
                format!("ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"),
                Some(REFUSED),
            ),
        ];
        for (sql, refused) in attempts {
            let mut transaction = begin(&store, Scope::Tenant(mine)).await;
            let result = changed(&mut transaction, sql.clone(), None).await;
            match (result, refused) {
                (Ok(rows), None) => assert_eq!(rows, own, "{sql}"),
                (Ok(_), Some(_)) => panic!("{sql} was not refused"),
                (Err(code), _) => assert_eq!(code, REFUSED, "{sql}"),
            }
        }
        let mut transaction = begin(&store, Scope::Tenant(mine)).await;
        let inserted = changed(&mut transaction, table.insert(), Some(&anothers_row)).await;
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
            let inserted = changed(&mut service, table.insert(), Some(&row)).await;
            assert_eq!(inserted, Err(REFUSED.to_owned()), "{}", table.name);
            for sql in [
                format!(
                    "UPDATE {0} SET {1} = {1}",
                    table.name,
                    table.tenant_column()
                ),
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
    let key = ApiKey {
        id: ApiKeyId::from_uuid(Uuid::now_v7()),
        tenant_id: None,
        role: Role::Admin,
        name: "platform".to_owned(),
        prefix: "db_".to_owned(),
        created_at: at(0),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    store.create_api_key(&key, &[9; 32]).await.unwrap();
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

/// Enough rows of many tenants for the planner to have a choice.
fn crowd(mine: TenantId, others: TenantId) -> String {
    let (mine, others) = (mine.as_uuid(), others.as_uuid());
    format!(
        "INSERT INTO device (id, tenant_id, name, description, device_type, tags, codec, dev_eui, created_at, updated_at)
         SELECT gen_random_uuid(), CASE WHEN n % 50 = 0 THEN '{mine}'::uuid ELSE '{others}' END, '', '', '', '{{}}', 'raw',
                lpad(to_hex(n), 16, '0'), n, n
         FROM generate_series(1, 5000) AS n;
         INSERT INTO downlink (id, device_id, tenant_id, dev_eui, state, attempts, created_at, updated_at, steps, body)
         SELECT gen_random_uuid(), id, tenant_id, dev_eui, 'verified', 1, created_at, created_at, 1, '{{}}' FROM device;
         INSERT INTO downlink_step (downlink_id, tenant_id, seq, at, body)
         SELECT id, tenant_id, 1, created_at, '{{}}' FROM downlink;
         INSERT INTO device_event (id, device_id, tenant_id, at, kind, body)
         SELECT gen_random_uuid(), id, tenant_id, created_at, 'up', '{{}}' FROM device;
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
    let plans = [
        ("SELECT * FROM device WHERE tenant_id = 'T' ORDER BY created_at, id LIMIT 1", "device_tenant_idx"),
        ("SELECT * FROM device ORDER BY created_at, id LIMIT 1", "device_created_idx"),
        ("SELECT * FROM device WHERE dev_eui = 'e'", "device_dev_eui_unique"),
        (
            "SELECT dev_eui FROM device WHERE unfinished AND dev_eui IS NOT NULL ORDER BY dev_eui",
            "device_unfinished_idx",
        ),
        (
            "SELECT * FROM downlink WHERE tenant_id = 'T' AND (created_at, id) < (7, 'T') ORDER BY created_at DESC, id DESC LIMIT 1",
            "downlink_tenant_idx",
        ),
        ("SELECT * FROM downlink WHERE dev_eui = 'e' ORDER BY created_at DESC, id DESC LIMIT 1", "downlink_dev_eui_idx"),
        ("SELECT * FROM downlink ORDER BY created_at DESC, id DESC LIMIT 1", "downlink_created_idx"),
        ("SELECT * FROM downlink_step WHERE downlink_id = 'T' ORDER BY seq", "downlink_step_pkey"),
        ("SELECT * FROM device_event WHERE device_id = 'T' AND id < 'T' ORDER BY id DESC LIMIT 1", "device_event_device_idx"),
        (
            "UPDATE device SET version = 1 FROM unnest(ARRAY['T']::uuid[], ARRAY['e']) AS v (id, dev_eui)
             WHERE device.id = v.id AND device.dev_eui = v.dev_eui",
            "Index Scan using device_",
        ),
    ];
    for (sql, index) in plans {
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
