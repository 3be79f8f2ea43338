//! Where `ChirpStack` and the registry differ, as the last comparison found.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, DeviceId, TenantId};
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Page, PageRequest, Scope, Store, on_backend};

/// How the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// The registry has it, `ChirpStack` has not.
    MissingInChirpstack,
    /// `ChirpStack` has it, the registry has not.
    MissingInRegistry,
    /// Both have it, with other values.
    Differs,
}

impl DriftKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [
        Self::MissingInChirpstack,
        Self::MissingInRegistry,
        Self::Differs,
    ];

    /// The word in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissingInChirpstack => "missing_in_chirpstack",
            Self::MissingInRegistry => "missing_in_registry",
            Self::Differs => "differs",
        }
    }

    /// The kind of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A field in which they differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its name in our API.
    pub field: String,
    /// What the registry says.
    pub registry: Option<String>,
    /// What `ChirpStack` says.
    pub chirpstack: Option<String>,
}

/// One device in which they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The device.
    pub dev_eui: DevEui,
    /// The registry's, if it has it.
    pub device_id: Option<DeviceId>,
    /// How.
    pub kind: DriftKind,
    /// `ChirpStack`'s name, if it has it.
    pub chirpstack_name: Option<String>,
    /// `ChirpStack`'s application, if it has it.
    pub application_id: Option<Uuid>,
    /// `ChirpStack`'s device profile, if it has it.
    pub device_profile_id: Option<Uuid>,
    /// In what, if both have it.
    pub differences: Vec<Difference>,
    /// When it was found first.
    pub found_at: Timestamp,
    /// An operator has decided to leave it.
    pub ignored: bool,
}

impl Store {
    /// Stores what a comparison found, in place of what the last one did. What is still there in the same kind keeps
    /// when it was found, and whether it is ignored. A tenant that is gone keeps nothing.
    pub async fn replace_drift(
        &self,
        tenant_id: TenantId,
        at: Timestamp,
        drifts: &[Drift],
    ) -> Result<(), StoreError> {
        on_backend!(self.replace_drift(tenant_id, at, drifts))
    }

    /// What the last comparison found, by `DevEUI`, and when it was; `None` if there was none.
    pub async fn list_drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        page: PageRequest,
    ) -> Result<(Option<Timestamp>, Page<Drift>), StoreError> {
        on_backend!(self.list_drift(scope, tenant_id, page))
    }

    /// What it found of one device.
    pub async fn drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        dev_eui: DevEui,
    ) -> Result<Option<Drift>, StoreError> {
        on_backend!(self.drift(scope, tenant_id, dev_eui))
    }

    /// Leaves devices as they are, or no longer; tells how many there were.
    pub async fn ignore_drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        dev_euis: &[DevEui],
        ignored: bool,
    ) -> Result<u64, StoreError> {
        on_backend!(self.ignore_drift(scope, tenant_id, dev_euis, ignored))
    }

    /// Forgets what was found of devices, because it was resolved; tells how many there were.
    pub async fn remove_drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        dev_euis: &[DevEui],
    ) -> Result<u64, StoreError> {
        on_backend!(self.remove_drift(scope, tenant_id, dev_euis))
    }
}
