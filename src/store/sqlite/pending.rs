//! Under construction.
use super::Sqlite;
use crate::store::*;
use crate::store::{AuditEntry, By, StoreError, TelemetryValue};
use downbeat_actors::port::*;
use downbeat_core::app_key::AppKey;
use downbeat_core::id::*;
use downbeat_core::time::Timestamp;
use std::time::Duration;
use uuid::Uuid;

async fn later<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("not written yet".into()))
}

impl Sqlite {
    pub(in crate::store) async fn create_tenant(
        &self,
        _tenant: &Tenant,
        _by: &By,
    ) -> Result<(), WriteTenantError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn tenant(
        &self,
        _scope: Scope,
        _id: TenantId,
    ) -> Result<Option<Tenant>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn tenant_by_name(
        &self,
        _scope: Scope,
        _name: &str,
    ) -> Result<Option<Tenant>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn tenant_by_chirpstack_id(
        &self,
        _id: Uuid,
    ) -> Result<Option<Tenant>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn list_tenants(
        &self,
        _scope: Scope,
        _page: PageRequest,
    ) -> Result<Page<Tenant>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn update_tenant(
        &self,
        _scope: Scope,
        _id: TenantId,
        _fields: &TenantFields,
        _version: Option<u32>,
        _at: Timestamp,
        _by: &By,
    ) -> Result<Tenant, WriteTenantError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn delete_tenant(
        &self,
        _scope: Scope,
        _id: TenantId,
        _version: Option<u32>,
        _at: Timestamp,
        _by: &By,
    ) -> Result<Tenant, WriteTenantError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn network_server(
        &self,
        _scope: Scope,
        _tenant_id: TenantId,
    ) -> Result<Option<TenantNetworkServer>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn list_network_servers(
        &self,
    ) -> Result<Vec<TenantNetworkServer>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn network_server_of(
        &self,
        _tenant_id: TenantId,
    ) -> Result<NetworkServerId, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn put_network_server(
        &self,
        _scope: Scope,
        _tenant_id: TenantId,
        _fields: &NetworkServerFields,
        _at: Timestamp,
        _by: &By,
    ) -> Result<TenantNetworkServer, WriteNetworkServerError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn delete_network_server(
        &self,
        _scope: Scope,
        _tenant_id: TenantId,
        _at: Timestamp,
        _by: &By,
    ) -> Result<(), WriteNetworkServerError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn create_device(
        &self,
        _scope: Scope,
        _device: &NewDevice,
        _by: &By,
    ) -> Result<Device, WriteDeviceError> {
        later().await.map_err(Into::into)
    }
    #[expect(clippy::too_many_arguments, reason = "who, what and when of a change")]
    pub(in crate::store) async fn update_device(
        &self,
        _scope: Scope,
        _id: DeviceId,
        _fields: &DeviceFields,
        _app_key: AppKeyChange,
        _version: Option<u32>,
        _at: Timestamp,
        _by: &By,
    ) -> Result<Device, WriteDeviceError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn delete_device(
        &self,
        _scope: Scope,
        _id: DeviceId,
        _version: Option<u32>,
        _at: Timestamp,
        _by: &By,
    ) -> Result<Device, WriteDeviceError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn device(
        &self,
        _scope: Scope,
        _id: DeviceId,
    ) -> Result<Option<Device>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn device_by_dev_eui(
        &self,
        _scope: Scope,
        _dev_eui: DevEui,
    ) -> Result<Option<Device>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn device_by_key(
        &self,
        _scope: Scope,
        _key: DeviceKey,
    ) -> Result<Option<Device>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn devices_by_dev_eui(
        &self,
        _tenant_id: TenantId,
        _after: Option<DevEui>,
        _limit: u32,
    ) -> Result<Vec<Device>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn list_devices(
        &self,
        _scope: Scope,
        _filter: &DeviceFilter,
        _page: PageRequest,
    ) -> Result<Page<Device>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn count_devices(
        &self,
        _scope: Scope,
        _filter: &DeviceFilter,
    ) -> Result<u64, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn request_sync(
        &self,
        _scope: Scope,
        _id: DeviceId,
        _force: bool,
        _at: Timestamp,
        _by: &By,
    ) -> Result<Option<u64>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn request_sync_all(
        &self,
        _scope: Scope,
        _at: Timestamp,
        _by: &By,
    ) -> Result<u64, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn list_device_events(
        &self,
        _scope: Scope,
        _device_id: DeviceId,
        _kind: Option<&str>,
        _from: Option<Timestamp>,
        _to: Option<Timestamp>,
        _page: PageRequest,
    ) -> Result<Page<DeviceEvent>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn delete_device_events_before(
        &self,
        _before: Timestamp,
    ) -> Result<u64, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn create_api_key(
        &self,
        _key: &ApiKey,
        _hash: &KeyHash,
        _by: &By,
    ) -> Result<(), StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn api_key_by_hash(
        &self,
        _hash: &KeyHash,
    ) -> Result<Option<ApiKey>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn api_key(
        &self,
        _scope: Scope,
        _id: ApiKeyId,
    ) -> Result<Option<ApiKey>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn list_api_keys(
        &self,
        _scope: Scope,
        _page: PageRequest,
    ) -> Result<Page<ApiKey>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn revoke_api_key(
        &self,
        _scope: Scope,
        _id: ApiKeyId,
        _at: Timestamp,
        _by: &By,
    ) -> Result<bool, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn touch_api_keys(
        &self,
        _used: &[(ApiKeyId, Timestamp)],
    ) -> Result<(), StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn telemetry(
        &self,
        _scope: Scope,
        _device_id: DeviceId,
        _query: &TelemetryQuery,
    ) -> Result<Vec<TelemetryPoint>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn telemetry_fields(
        &self,
        _scope: Scope,
        _device_id: DeviceId,
    ) -> Result<Vec<TelemetryField>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn delete_telemetry_before(
        &self,
        _before: Timestamp,
    ) -> Result<u64, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn append_audit(
        &self,
        _entries: &[AuditEntry],
    ) -> Result<(), StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn list_audit(
        &self,
        _scope: Scope,
        _filter: &AuditFilter,
        _page: PageRequest,
    ) -> Result<Page<AuditEntry>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn note_unclaimed(
        &self,
        _sightings: &[UnclaimedSighting],
    ) -> Result<(), StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn list_unclaimed(
        &self,
        _scope: Scope,
        _page: PageRequest,
    ) -> Result<Page<UnclaimedDevice>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn unclaimed(
        &self,
        _scope: Scope,
        _dev_eui: DevEui,
    ) -> Result<Option<UnclaimedDevice>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn forget_unclaimed(
        &self,
        _scope: Scope,
        _dev_eui: DevEui,
    ) -> Result<bool, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn replace_drift(
        &self,
        _tenant_id: TenantId,
        _at: Timestamp,
        _drifts: &[Drift],
    ) -> Result<(), StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn list_drift(
        &self,
        _scope: Scope,
        _tenant_id: TenantId,
        _page: PageRequest,
    ) -> Result<(Option<Timestamp>, Page<Drift>), StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn drift(
        &self,
        _scope: Scope,
        _tenant_id: TenantId,
        _dev_eui: DevEui,
    ) -> Result<Option<Drift>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn ignore_drift(
        &self,
        _scope: Scope,
        _tenant_id: TenantId,
        _dev_euis: &[DevEui],
        _ignored: bool,
    ) -> Result<u64, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn remove_drift(
        &self,
        _scope: Scope,
        _tenant_id: TenantId,
        _dev_euis: &[DevEui],
    ) -> Result<u64, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn commit(
        &self,
        _changes: &[DeviceChange],
    ) -> Result<(), StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn load(
        &self,
        _key: DeviceKey,
    ) -> Result<Option<StoredDevice>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn unfinished(&self) -> Result<Vec<DeviceKey>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn silent(
        &self,
        _now: Timestamp,
        _interval: Duration,
        _limit: u32,
    ) -> Result<Vec<DeviceKey>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn unfinished_syncs(
        &self,
        _server: NetworkServerId,
        _limit: u32,
    ) -> Result<Vec<StoredSync>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn load_sync(
        &self,
        _key: DeviceKey,
    ) -> Result<Option<StoredSync>, StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn commit_syncs(
        &self,
        _changes: &[SyncChange],
    ) -> Result<(), StoreError> {
        later().await.map_err(Into::into)
    }
    pub(in crate::store) async fn app_key(
        &self,
        _key: DeviceKey,
        _revision: u32,
    ) -> Result<Option<AppKey>, StoreError> {
        later().await.map_err(Into::into)
    }
}
