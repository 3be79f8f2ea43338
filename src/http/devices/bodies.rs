//! Devices as the API shows them, made once for each of their revisions: a list is a page of revisions, and what is
//! kept of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use downbeat_core::id::{DeviceId, Scope};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::http::problem::ApiError;
use crate::store::{DeviceRevision, Revision, Store};

use super::DeviceBody;

/// What is kept of all, bytes: some 40,000 devices.
const KEPT_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Devices that this is laid out for.
const KEPT_EXPECTED: usize = 40_000;

/// A device's body, as it goes into an answer.
#[derive(Debug, Clone)]
pub(in crate::http) struct MadeBody(Arc<RawValue>);

impl Serialize for MadeBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[derive(Debug, Clone)]
struct Kept {
    revision: Revision,
    body: MadeBody,
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<DeviceId, Kept> for Bytes {
    fn weight(&self, _: &DeviceId, kept: &Kept) -> u64 {
        let text = kept.body.0.get().len();
        (text + size_of::<(DeviceId, Kept)>())
            .try_into()
            .unwrap_or(u64::MAX)
    }
}

/// The bodies that were shown lately.
#[derive(Debug)]
pub(in crate::http) struct DeviceBodies {
    kept: Cache<DeviceId, Kept, Bytes>,
}

impl Default for DeviceBodies {
    fn default() -> Self {
        Self {
            kept: Cache::with_weighter(KEPT_EXPECTED, KEPT_BYTES_MAX, Bytes),
        }
    }
}

impl DeviceBodies {
    /// The bodies of a page's devices, each as it is in that revision or a later one; without those that are gone
    /// meanwhile.
    pub(super) async fn of_page(
        &self,
        store: &Store,
        scope: Scope,
        page: &[DeviceRevision],
    ) -> Result<Vec<MadeBody>, ApiError> {
        let found: Vec<Option<MadeBody>> = page.iter().map(|it| self.find(it)).collect();
        let unmade = page.iter().zip(&found).filter(|(_, body)| body.is_none());
        let unmade: BTreeSet<DeviceId> = unmade.map(|(it, _)| it.id).collect();
        if unmade.is_empty() {
            return Ok(found.into_iter().flatten().collect());
        }
        let made = self.make(store, scope, &unmade).await?;
        let bodies = page.iter().zip(found);
        Ok(bodies
            .filter_map(|(it, body)| body.or_else(|| made.get(&it.id).cloned()))
            .collect())
    }

    fn find(&self, wanted: &DeviceRevision) -> Option<MadeBody> {
        let kept = self.kept.get(&wanted.id)?;
        (kept.revision == wanted.revision).then_some(kept.body)
    }

    async fn make(
        &self,
        store: &Store,
        scope: Scope,
        ids: &BTreeSet<DeviceId>,
    ) -> Result<BTreeMap<DeviceId, MadeBody>, ApiError> {
        let devices = store.devices_by_id(scope, ids).await?;
        let made = devices.into_iter().map(|it| {
            let (id, revision) = (it.device.id, it.revision);
            let body = to_raw_value(&DeviceBody::new(it.device))
                .map_err(|error| ApiError::Internal(Box::new(error)))?;
            let body = MadeBody(body.into());
            let kept = Kept {
                revision,
                body: body.clone(),
            };
            self.kept.insert(id, kept);
            Ok((id, body))
        });
        made.collect()
    }
}
