//! The tables that the database has, and rows of two tenants in each of them.

use downbeat_actors::port::{
    DeviceChange, DeviceStore as _, GatewayMemory, HistoryEntry, StoredGateway, StoredLinks,
};
use downbeat_core::device::DownlinkState;
use downbeat_core::id::{GatewayId, NetworkServerId, TenantId};
use downbeat_core::link_quality::table::Owner;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Postgres as Db, Transaction};
use uuid::Uuid;

use super::super::session::Access;
use super::postgres;
use crate::store::conformance::{
    at, by, change, default_tenant, downlink, eui, jobs, lamp, new_tenant, on_default, record,
    sessions,
};
use crate::store::{
    ApiKey, ApiKeyId, Device, Drift, DriftKind, IdempotencyKey, NewDevice, NewReservation, Role,
    Scope, SessionKey, Store, TelemetryValue, UnclaimedSighting,
};

/// What holds no tenant's rows and is the platform's alone.
pub(super) const PLATFORMS: [&str; 1] = ["seal_check"];

/// What the service only reads.
const READ_ONLY: [&str; 1] = ["_sqlx_migrations"];

/// PostgreSQL's `insufficient_privilege`: no grant, or a policy.
pub(super) const REFUSED: &str = "42501";

/// A table as the database describes it.
#[derive(FromRow)]
pub(super) struct Table {
    pub(super) name: String,
    /// Whose a row is.
    pub(super) tenant_column: Option<String>,
    pub(super) protected: bool,
}

impl Table {
    /// All of the database.
    pub(super) async fn all(connection: &mut PgConnection) -> Vec<Self> {
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
            .filter(|table| !READ_ONLY.contains(&&*table.name))
            .collect()
    }

    /// The tenant's column, or another one.
    pub(super) fn column(&self) -> &str {
        self.tenant_column.as_deref().unwrap_or("id")
    }

    /// How many rows a tenant has, as the superuser sees them.
    pub(super) async fn rows_of(&self, connection: &mut PgConnection, tenant: TenantId) -> u64 {
        if PLATFORMS.contains(&&*self.name) {
            return 0;
        }
        let sql = format!(
            "SELECT count(*) FROM {} WHERE {} = $1",
            self.name,
            self.column()
        );
        let rows = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).bind(tenant.as_uuid());
        let rows = u64::try_from(rows.fetch_one(connection).await.unwrap()).unwrap();
        assert!(rows > 0, "two_tenants() gives {} no row", self.name);
        rows
    }

    pub(super) async fn visible(&self, connection: &mut PgConnection) -> u64 {
        let sql = format!("SELECT count(*) FROM {}", self.name);
        let rows = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(connection);
        u64::try_from(rows.await.unwrap()).unwrap()
    }

    /// A row as JSON, by the superuser.
    pub(super) async fn row_of(&self, connection: &mut PgConnection, tenant: TenantId) -> String {
        let whose = if PLATFORMS.contains(&&*self.name) {
            "$1::uuid IS NOT NULL".to_owned()
        } else {
            format!("{} = $1", self.column())
        };
        let sql = format!(
            "SELECT to_jsonb(t)::text FROM {} AS t WHERE {whose} LIMIT 1",
            self.name
        );
        let row = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant.as_uuid());
        row.fetch_one(connection).await.unwrap()
    }

    /// Its columns that can be written.
    async fn columns(&self, connection: &mut PgConnection) -> String {
        let columns = sqlx::query_scalar(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
             WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
        );
        columns
            .bind(&self.name)
            .fetch_one(connection)
            .await
            .unwrap()
    }

    pub(super) async fn insert(&self, connection: &mut PgConnection) -> String {
        let (name, columns) = (&self.name, self.columns(connection).await);
        format!(
            "INSERT INTO {name} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{name}, $1::jsonb)"
        )
    }
}

/// How many rows a statement changed, or the code with which it was refused.
pub(super) async fn changed(
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

pub(super) async fn begin(
    store: &Store,
    access: impl Into<Access<'_>>,
) -> Transaction<'static, Db> {
    postgres(store).sessions.begin(access).await.unwrap()
}

/// Rows of two tenants in every table.
pub(super) async fn two_tenants(store: &Store) -> (TenantId, TenantId) {
    let tenants = (
        default_tenant(store).await,
        new_tenant(store, "other").await,
    );
    for (number, tenant) in [(1, tenants.0), (2, tenants.1), (3, tenants.1)] {
        let device = wanted_device(tenant, number);
        let device = store
            .create_device(Scope::Platform, &device, &by())
            .await
            .unwrap();
        let mut command = downlink(at(1));
        let change = DeviceChange {
            records: vec![record(&mut command, DownlinkState::Accepted, at(1))],
            history: vec![HistoryEntry {
                at: at(1),
                kind: "up",
                body: "{}".to_owned(),
            }],
            telemetry: vec![("a".into(), TelemetryValue::Number(1.0))],
            ..change(&device, "state", at(1))
        };
        store.commit(&[change]).await.unwrap();
        let told_before = "INSERT INTO telemetry (device_id, field, at, tenant_id, number) VALUES ($1, 'a', 0, $2, 1)";
        let mut transaction = begin(store, Scope::Tenant(tenant)).await;
        let inserted = sqlx::query(told_before)
            .bind(device.id.as_uuid())
            .bind(tenant.as_uuid());
        inserted.execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        heard_by_gateway(store, &device).await;
        let hash = [u8::try_from(number).unwrap(); 32];
        let key = viewers_key(Some(tenant));
        store.create_api_key(&key, &hash, &by()).await.unwrap();
        let session = sessions::session(Some(session_key(&key, hash)), 1);
        store.keep_browser_session(&session, &hash).await.unwrap();
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
        found_outside(store, tenant).await;
        jobs::begun(store, tenant, at(1), &[jobs::item(0, number)]).await;
    }
    for tenant in [tenants.0, tenants.1] {
        // Set before there was any device, as far as these rows know.
        let server = "INSERT INTO network_server (tenant_id, url, api_key, created_at, updated_at)
             VALUES ($1, '', '', 0, 0)";
        let mut transaction = begin(store, Scope::Tenant(tenant)).await;
        let inserted = sqlx::query(server).bind(tenant.as_uuid());
        inserted.execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }
    tenants
}

/// What is known of a tenant's gateways and links.
async fn heard_by_gateway(store: &Store, device: &Device) {
    let owner = Owner {
        dev_eui: device.fields.dev_eui.unwrap(),
        device_id: device.id,
        tenant_id: device.tenant_id,
    };
    let memory = GatewayMemory {
        kept: vec![StoredGateway {
            gateway_id: GatewayId::from_u64(1),
            record: "{}".to_owned(),
        }],
        gone: Vec::new(),
        links: vec![StoredLinks {
            owner,
            links: "{}".to_owned(),
        }],
    };
    let server = NetworkServerId::Tenant(device.tenant_id);
    store.keep_gateways(server, at(1), &memory).await.unwrap();
}

/// What a tenant's ChirpStack has and the registry has not.
async fn found_outside(store: &Store, tenant: TenantId) {
    let sighting = UnclaimedSighting {
        key: on_default(100),
        tenant_id: Some(tenant),
        name: String::new(),
        application_id: None,
        device_profile_id: None,
        at: at(1),
        events: 1,
        rssi_dbm: None,
    };
    store.note_unclaimed(&[sighting]).await.unwrap();
    let drift = Drift {
        dev_eui: eui(100),
        device_id: None,
        kind: DriftKind::MissingInRegistry,
        chirpstack_name: None,
        application_id: None,
        device_profile_id: None,
        differences: Vec::new(),
        found_at: at(1),
        ignored: false,
    };
    store.replace_drift(tenant, at(1), &[drift]).await.unwrap();
}

/// One that ChirpStack is to hold.
pub(super) fn wanted_device(tenant: TenantId, number: u64) -> NewDevice {
    let mut device = lamp(tenant, number);
    device.fields.chirpstack_app_id = Some(Uuid::from_u128(1));
    device.fields.device_profile_id = Some(Uuid::from_u128(2));
    device
}

pub(super) fn viewers_key(tenant_id: Option<TenantId>) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_uuid(Uuid::now_v7()),
        tenant_id,
        role: Role::Viewer,
        name: "a key".to_owned(),
        prefix: "db_".to_owned(),
        created_at: at(0),
        expires_at: None,
        revoked_at: None,
        requests_per_minute: None,
        last_used_at: None,
    }
}

fn session_key(key: &ApiKey, hash: [u8; 32]) -> SessionKey {
    SessionKey {
        id: key.id,
        hash,
        tenant_id: key.tenant_id,
        role: key.role,
        name: key.name.clone(),
    }
}
