//! What is known of gateways and links, from one start to the next. Who shows it asks the actors.

use downbeat_actors::port::StoreError;
use downbeat_core::time::Timestamp;

use super::{Store, on_backend};

impl Store {
    /// Deletes what is known of gateways of which nothing was heard since, as [`Store::delete_device_events_before`]
    /// does events. Links go with their devices.
    pub async fn delete_gateways_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        on_backend!(self.delete_gateways_before(before))
    }
}
