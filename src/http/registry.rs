//! Changes of the registry, whichever door they come through: what has to happen before and after the store's write.
//!
//! A device that leaves the registry, changes its DevEUI or its codec is retired first: its downlinks end as cancelled,
//! and no new one is taken. Whatever became of the write, its actor then looks at the registry again. Once begun, a
//! change is carried out to its end, also when the caller goes away in the middle of it.

use downbeat_actors::AskError;
use downbeat_actors::observe::{FeedBody, FeedEvent, RegistryChange, RegistryView};
use downbeat_actors::port::{By, DeviceStore as _};
use downbeat_core::app_key::AppKey;
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, NetworkServerId, Scope};
use tracing::Instrument as _;

use crate::store::{AppKeyChange, AppKeyState, Device, NewDevice, WriteDeviceError};

use super::AppState;
use super::devices::fields::WantedDevice;
use super::etag::IfMatch;
use super::extract::Patch;
use super::problem::{ApiError, Conflict};

/// How often a change is tried that others overtake, if the caller named no version.
const TRIES: usize = 5;

/// A device after a change.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) device: Device,
    /// Whether anything is different now.
    pub(super) is_changed: bool,
}

/// Registers a device.
pub(super) async fn create(
    state: &AppState,
    scope: Scope,
    device: NewDevice,
    by: By,
) -> Result<Device, ApiError> {
    let state = state.clone();
    to_the_end(async move {
        let device = state.store().create_device(scope, &device, &by).await?;
        changed(&state, None, Some(&device));
        tell(&state, &device, RegistryChange::Created);
        Ok(device)
    })
    .await
}

/// Changes a device into what `wanted` makes of it as it is; asked again when another change came first, unless the
/// caller named a version.
pub(super) async fn update(
    state: &AppState,
    scope: Scope,
    id: DeviceId,
    if_match: &IfMatch,
    by: &By,
    wanted: impl Fn(&Device) -> Result<WantedDevice, ApiError>,
) -> Result<Written, ApiError> {
    let mut tries = 0;
    loop {
        let before = state.store().device(scope, id).await?;
        let before = before.ok_or(ApiError::NotFound("device"))?;
        let demanded = if_match.demand(before.version)?;
        let wanted = wanted(&before)?;
        let Some(app_key) = difference(state, &before, &wanted).await? else {
            return Ok(Written {
                device: before,
                is_changed: false,
            });
        };
        check_dev_eui(state, &before, wanted.fields.dev_eui).await?;
        tries += 1;
        let change = Change {
            state: state.clone(),
            scope,
            before,
            wanted,
            app_key,
            by: by.clone(),
        };
        match to_the_end(change.carry_out()).await {
            Err(ApiError::VersionMismatch { .. }) if demanded.is_none() && tries < TRIES => {}
            result => {
                return result.map(|device| Written {
                    device,
                    is_changed: true,
                });
            }
        }
    }
}

/// What becomes of a device's root key if the device is to be as wanted; `None` if the device is that already.
pub(super) async fn difference(
    state: &AppState,
    before: &Device,
    wanted: &WantedDevice,
) -> Result<Option<AppKeyChange>, ApiError> {
    let app_key = app_key_change(state, before, wanted).await?;
    let is_same = before.fields == wanted.fields && app_key == AppKeyChange::Keep;
    Ok((!is_same).then_some(app_key))
}

/// Takes a device out of the registry; tried again when a change came first, unless the caller named a version.
pub(super) async fn delete(
    state: &AppState,
    scope: Scope,
    id: DeviceId,
    if_match: &IfMatch,
    by: &By,
) -> Result<(), ApiError> {
    let mut tries = 0;
    loop {
        let before = state.store().device(scope, id).await?;
        let before = before.ok_or(ApiError::NotFound("device"))?;
        let demanded = if_match.demand(before.version)?;
        tries += 1;
        match to_the_end(remove(state.clone(), scope, before, by.clone())).await {
            Err(ApiError::VersionMismatch { .. }) if demanded.is_none() && tries < TRIES => {}
            result => return result,
        }
    }
}

async fn remove(state: AppState, scope: Scope, before: Device, by: By) -> Result<(), ApiError> {
    let removed = match remove_resting(&state, scope, &before, &by).await {
        Some(removed) => removed,
        None => match retire(&state, scope, &before).await {
            Ok(()) => {
                let (version, at) = (Some(before.version), state.clock().now());
                let store = state.store();
                let removed = store.delete_device(scope, before.id, version, at, &by);
                removed.await.map(drop).map_err(ApiError::from)
            }
            Err(error) => Err(error),
        },
    };
    changed(&state, Some(&before), None);
    if removed.is_ok() {
        tell(&state, &before, RegistryChange::Deleted);
    }
    removed
}

/// Takes a device out that nobody is at work on, without waking its actor for it. `None` if its actor is there, or is to
/// end what is stored as under way.
async fn remove_resting(
    state: &AppState,
    scope: Scope,
    before: &Device,
    by: &By,
) -> Option<Result<(), ApiError>> {
    let leaving = match key_of(before) {
        Some(key) => Some(state.system().leave_resting(key)?),
        None => None,
    };
    let (version, at) = (Some(before.version), state.clock().now());
    let store = state.store();
    let removed = store.delete_resting_device(scope, before.id, version, at, by);
    let removed = removed.await;
    drop(leaving);
    match removed {
        Err(WriteDeviceError::UnderWay) => None,
        removed => Some(removed.map(drop).map_err(ApiError::from)),
    }
}

/// Wishes a device in ChirpStack anew; false if there is no such device, or it is not kept in step.
pub(super) async fn request_sync(
    state: &AppState,
    scope: Scope,
    id: DeviceId,
    force: bool,
    by: By,
) -> Result<bool, ApiError> {
    let now = state.clock().now();
    let requested = state.store().request_sync(scope, id, force, now, &by);
    let requested = requested.await?.is_some();
    if requested && let Some(device) = state.store().device(scope, id).await? {
        match key_of(&device) {
            Some(key) => state.system().sync_wanted(key),
            None => state.system().syncs_wanted(device.server),
        }
    }
    Ok(requested)
}

/// Tells everybody whom it concerns that the registry changed: the actors of the device as it was and as it is, and
/// whoever keeps ChirpStack in step.
pub(super) fn changed(state: &AppState, before: Option<&Device>, after: Option<&Device>) {
    let (before, after) = (before.and_then(key_of), after.and_then(key_of));
    for key in before.into_iter().chain(after.filter(|_| after != before)) {
        state.system().registry_changed(key);
        state.system().sync_wanted(key);
    }
}

/// Tells who watches that the registry changed.
fn tell(state: &AppState, device: &Device, change: RegistryChange) {
    state.system().feed().publish(FeedEvent {
        at: state.clock().now(),
        tenant_id: Some(device.tenant_id),
        body: FeedBody::Registry(RegistryView {
            device_id: device.id,
            dev_eui: device.fields.dev_eui,
            change,
        }),
    });
}

/// A device on the air; `None` if it is not on LoRaWAN.
pub(super) fn key_of(device: &Device) -> Option<DeviceKey> {
    let dev_eui = device.fields.dev_eui?;
    let server = device.server;
    Some(DeviceKey { server, dev_eui })
}

/// Whether somebody, maybe another tenant, has that DevEUI on a network server.
pub(super) async fn is_taken(
    state: &AppState,
    server: NetworkServerId,
    dev_eui: DevEui,
) -> Result<bool, ApiError> {
    let key = DeviceKey { server, dev_eui };
    let found = state.store().device_by_key(Scope::Platform, key).await?;
    Ok(found.is_some())
}

/// Carries a change out to its end, also when its caller goes away in the middle of it.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(work.in_current_span()).await;
    done.unwrap_or(Err(ApiError::Panicked))
}

/// A change that is to be written.
struct Change {
    state: AppState,
    scope: Scope,
    before: Device,
    wanted: WantedDevice,
    app_key: AppKeyChange,
    by: By,
}

impl Change {
    async fn carry_out(self) -> Result<Device, ApiError> {
        let Self {
            state,
            scope,
            before,
            wanted,
            app_key,
            by,
        } = self;
        let fields = &wanted.fields;
        let ends_what_is_under_way =
            before.fields.dev_eui != fields.dev_eui || before.fields.codec != fields.codec;
        let retired = if ends_what_is_under_way {
            retire(&state, scope, &before).await
        } else {
            Ok(())
        };
        let written = match retired {
            Ok(()) => {
                let at = state.clock().now();
                let version = Some(before.version);
                let store = state.store();
                let written =
                    store.update_device(scope, before.id, fields, app_key, version, at, &by);
                written.await.map_err(ApiError::from)
            }
            Err(error) => Err(error),
        };
        changed(&state, Some(&before), written.as_ref().ok());
        if let Ok(device) = &written {
            tell(&state, device, RegistryChange::Changed);
        }
        written
    }
}

/// Ends what is under way with a device.
async fn retire(state: &AppState, scope: Scope, device: &Device) -> Result<(), ApiError> {
    let Some(key) = key_of(device) else {
        return Ok(());
    };
    match state.system().retire(scope, key).await {
        // Somebody else took it out meanwhile: the store will say so.
        Ok(()) | Err(AskError::UnknownDevice) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a DevEUI that another device has, before anything is ended for it.
async fn check_dev_eui(
    state: &AppState,
    before: &Device,
    dev_eui: Option<DevEui>,
) -> Result<(), ApiError> {
    let Some(dev_eui) = dev_eui.filter(|it| Some(*it) != before.fields.dev_eui) else {
        return Ok(());
    };
    let server = state.store().network_server_of(before.tenant_id).await?;
    if is_taken(state, server, dev_eui).await? {
        return Err(ApiError::Conflict(Conflict::DevEuiTaken));
    }
    Ok(())
}

/// What becomes of the root key. The one that is there already is no change; one that nobody would send to ChirpStack
/// any more is not kept.
async fn app_key_change(
    state: &AppState,
    before: &Device,
    wanted: &WantedDevice,
) -> Result<AppKeyChange, ApiError> {
    let has_one = before.app_key != AppKeyState::None;
    Ok(match wanted.app_key {
        Patch::Set(key) if has_one && stored_app_key(state, before).await? == Some(key) => {
            AppKeyChange::Keep
        }
        Patch::Set(key) => AppKeyChange::Set(key),
        Patch::Clear if has_one => AppKeyChange::Clear,
        Patch::Keep if has_one && wanted.fields.chirpstack_app_id.is_none() => AppKeyChange::Clear,
        Patch::Keep | Patch::Clear => AppKeyChange::Keep,
    })
}

async fn stored_app_key(state: &AppState, device: &Device) -> Result<Option<AppKey>, ApiError> {
    let Some(key) = key_of(device) else {
        return Ok(None);
    };
    let sync = state.store().load_sync(key).await?;
    let wanted = sync.and_then(|it| it.wish.device);
    match wanted.and_then(|it| it.app_key_revision) {
        Some(revision) => Ok(state.store().app_key(key, revision).await?),
        None => Ok(None),
    }
}

impl From<WriteDeviceError> for ApiError {
    fn from(error: WriteDeviceError) -> Self {
        match error {
            WriteDeviceError::TenantFull => Self::Conflict(Conflict::TenantFull),
            WriteDeviceError::DevEuiTaken => Self::Conflict(Conflict::DevEuiTaken),
            WriteDeviceError::UnknownTenant => Self::NotFound("tenant"),
            WriteDeviceError::UnknownDevice => Self::NotFound("device"),
            WriteDeviceError::VersionMismatch { current } => Self::VersionMismatch { current },
            // Whoever asks for that sees to it.
            WriteDeviceError::UnderWay => Self::Internal(Box::new(error)),
            WriteDeviceError::Store(error) => error.into(),
        }
    }
}
