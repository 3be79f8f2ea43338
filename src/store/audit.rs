//! The audit log's queries.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DeviceId, TenantId};
use downbeat_core::time::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    ApiKey, ApiKeyId, AppKeyState, Device, Page, PageRequest, Scope, Store, Tenant,
    TenantNetworkServer, on_backend,
};

pub use downbeat_actors::port::{AuditEntry, By};

/// Which entries of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Those of that action, `device.create`, or of all actions of an object's kind, `device`.
    pub action: Option<String>,
    /// Those about that object.
    pub object_id: Option<String>,
    /// What was done with that key.
    pub key_id: Option<ApiKeyId>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
}

impl Store {
    /// Adds entries of what is no change of the registry; those the store makes itself. An entry that is there already
    /// stays as it is.
    pub async fn append_audit(&self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        on_backend!(self.append_audit(entries))
    }

    /// Entries, newest first.
    pub async fn list_audit(
        &self,
        scope: Scope,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditEntry>, StoreError> {
        on_backend!(self.list_audit(scope, filter, page))
    }
}

/// A change of the registry as its entry.
pub(super) struct Change<'a> {
    pub(super) by: &'a By,
    pub(super) at: Timestamp,
    pub(super) action: &'a str,
}

impl Change<'_> {
    /// A tenant made, changed or deleted.
    pub(super) fn of_tenant(&self, before: Option<&Tenant>, after: Option<&Tenant>) -> AuditEntry {
        let id = before.or(after).map(|tenant| tenant.id);
        let object = id.map(|id| id.to_string()).unwrap_or_default();
        self.entry(id, object, before.map(tenant_json), after.map(tenant_json))
    }

    /// A tenant's network server set or taken away. That its key was exchanged shows as another version.
    pub(super) fn of_network_server(
        &self,
        before: Option<&TenantNetworkServer>,
        after: Option<&TenantNetworkServer>,
    ) -> AuditEntry {
        let id = before.or(after).map(|server| server.tenant_id);
        let object = id.map(|id| id.to_string()).unwrap_or_default();
        let json = |server: &TenantNetworkServer| json!({ "url": server.url, "api_key": "set", "version": server.version });
        self.entry(id, object, before.map(json), after.map(json))
    }

    /// A device made, changed or deleted.
    pub(super) fn of_device(&self, before: Option<&Device>, after: Option<&Device>) -> AuditEntry {
        let device = before.or(after);
        let object = device.map(|device| device.id.to_string());
        self.entry(
            device.map(|device| device.tenant_id),
            object.unwrap_or_default(),
            before.map(device_json),
            after.map(device_json),
        )
    }

    /// A device wished anew.
    pub(super) fn of_sync(
        &self,
        tenant_id: TenantId,
        id: DeviceId,
        generation: u64,
        force: bool,
    ) -> AuditEntry {
        let after = json!({ "generation": generation, "force": force });
        self.entry(Some(tenant_id), id.to_string(), None, Some(after))
    }

    /// All devices of a scope wished anew that were not in step.
    pub(super) fn of_sync_all(&self, scope: Scope, devices: u64) -> AuditEntry {
        let id = scope.tenant();
        let object = id.map_or_else(|| "*".to_owned(), |id| id.to_string());
        self.entry(id, object, None, Some(json!({ "devices": devices })))
    }

    /// A key made or taken back.
    pub(super) fn of_api_key(&self, before: Option<&ApiKey>, after: Option<&ApiKey>) -> AuditEntry {
        let key = before.or(after);
        let object = key.map(|key| key.id.to_string()).unwrap_or_default();
        let tenant_id = key.and_then(|key| key.tenant_id);
        self.entry(
            tenant_id,
            object,
            before.map(api_key_json),
            after.map(api_key_json),
        )
    }

    fn entry(
        &self,
        tenant_id: Option<TenantId>,
        object_id: String,
        before: Option<Value>,
        after: Option<Value>,
    ) -> AuditEntry {
        AuditEntry {
            id: Uuid::now_v7(),
            at: self.at,
            tenant_id,
            by: self.by.clone(),
            action: self.action.to_owned(),
            object_id,
            before,
            after,
        }
    }
}

fn tenant_json(tenant: &Tenant) -> Value {
    let fields = &tenant.fields;
    json!({
        "id": tenant.id,
        "name": fields.name,
        "chirpstack_tenant_id": fields.chirpstack_tenant_id,
        "devices_max": fields.devices_max,
        "commands_per_minute": fields.commands_per_minute,
        "policy": fields.policy,
        "version": tenant.version,
    })
}

/// Under the names of the API; of the root key no more than that there is one.
fn device_json(device: &Device) -> Value {
    let fields = &device.fields;
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("id", json!(device.id));
    put("tenant_id", json!(device.tenant_id));
    put("name", json!(fields.name));
    put("device_type", json!(fields.device_type));
    put("description", json!(fields.description));
    put("tags", json!(fields.tags));
    put("lorawan_dev_eui", json!(fields.dev_eui));
    put("chirpstack_app_id", json!(fields.chirpstack_app_id));
    put("device_profile_id", json!(fields.device_profile_id));
    put("join_eui", json!(fields.join_eui));
    let interval = fields.uplink_interval.map(|interval| interval.as_secs());
    put("uplink_interval_s", json!(interval));
    put("policy", json!(fields.policy));
    put("codec", json!(fields.codec.name()));
    put("version", json!(device.version));
    match device.app_key {
        AppKeyState::None => {}
        AppKeyState::Set => drop(put("app_key", json!("set"))),
        AppKeyState::Default => drop(put("app_key", json!("default"))),
    }
    Value::Object(object)
}

fn api_key_json(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "tenant_id": key.tenant_id,
        "role": key.role,
        "name": key.name,
        "prefix": key.prefix,
        "requests_per_minute": key.requests_per_minute,
        "expires_at": key.expires_at.map(|at| at.to_string()),
        "revoked_at": key.revoked_at.map(|at| at.to_string()),
    })
}
