//! What became of downlinks, counted.
//!
//! A downlink counts in the period in which it ended; a late proof is a new end. How many there are may be millions, so
//! the store counts, and gives out as many rows as there are combinations of what they are counted by.

use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::device::DownlinkState;
use downbeat_core::id::{DevEui, GatewayId, TenantId};
use downbeat_core::time::Timestamp;

use super::{Scope, Store, on_backend};

/// Values of a tag that are told apart: those that most devices have.
pub const TAG_VALUES_MAX: u32 = 200;

/// Which downlinks to count, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeFilter {
    /// Ended at this time or later.
    pub from: Timestamp,
    /// And before this time.
    pub to: Timestamp,
    /// Those of one device.
    pub dev_eui: Option<DevEui>,
    /// Each span of this length for itself, too; a millisecond at least. They begin at whole multiples of it, so that they
    /// are the same ones a while later.
    pub step: Option<Duration>,
    /// Each value that their devices have for this tag for itself, too.
    pub tag: Option<String>,
    /// Each number of attempts for itself, too.
    pub attempts: bool,
}

impl OutcomeFilter {
    /// Where the first span begins: at `from`, or before.
    pub fn spans_from(&self) -> Timestamp {
        let step = self.step.unwrap_or_default().as_millis();
        let step = i64::try_from(step).unwrap_or(i64::MAX).max(1);
        let from = self.from.as_millis();
        Timestamp::from_millis(from - from.rem_euclid(step))
    }

    /// All that ended in a period.
    pub fn period(from: Timestamp, to: Timestamp) -> Self {
        Self {
            from,
            to,
            dev_eui: None,
            step: None,
            tag: None,
            attempts: false,
        }
    }
}

/// What became of the downlinks of a period.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DownlinkOutcomes {
    /// How many have not ended, whenever they were accepted.
    pub under_way: u64,
    /// Those that ended.
    pub outcomes: Vec<(OutcomeKey, OutcomeCount)>,
    /// The same by the span in which they ended, each by its beginning, in order; empty unless asked for.
    pub over_time: Vec<(Timestamp, OutcomeCount)>,
    /// The same by the value of the tag; `None` without one, with one of those that few devices have, or when the
    /// device is gone. Empty unless asked for.
    pub by_tag: Vec<(Option<String>, OutcomeCount)>,
    /// The same by how often they were tried, in order; empty unless asked for.
    pub by_attempts: Vec<(u64, OutcomeCount)>,
}

/// What outcomes are counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeKey {
    /// Whose they are.
    pub tenant_id: TenantId,
    /// Why they ended so (the API's word for it).
    pub reason: Option<String>,
    /// The gateway that transmitted them last, if that is known.
    pub gateway_id: Option<GatewayId>,
    /// The spreading factor of that, if it was LoRa.
    pub spreading_factor: Option<u8>,
}

/// Downlinks that ended in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeCount {
    /// Their terminal state.
    pub state: DownlinkState,
    /// From acceptance to the proof, to within half a percent; only of verified ones.
    pub verified_in: Option<Duration>,
    /// How many they are.
    pub downlinks: u64,
    /// How many of them were tried at least once.
    pub tried: u64,
    /// Attempts of all of them.
    pub attempts: u64,
}

impl Store {
    /// What became of the downlinks of a period.
    pub async fn downlink_outcomes(
        &self,
        scope: Scope,
        filter: &OutcomeFilter,
    ) -> Result<DownlinkOutcomes, StoreError> {
        on_backend!(self.downlink_outcomes(scope, filter))
    }

    /// Deletes downlinks that ended before, and their timelines, the oldest first,
    /// [`DELETE_DOWNLINKS_MAX`](super::DELETE_DOWNLINKS_MAX) at the most; tells how many. One that has not ended is kept.
    pub async fn delete_downlinks_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        on_backend!(self.delete_downlinks_before(before))
    }
}
