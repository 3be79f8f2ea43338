//! Frames of ours that a report may be about.
//!
//! Nothing in a report says which downlink was received, only how many. So every frame that went out is remembered
//! until a report has surely counted it, and what such frames can explain proves nothing of another one.

use std::time::Duration;

use crate::codec::Report;
use crate::id::DownlinkId;
use crate::light::LightState;
use crate::time::Timestamp;

use super::proof::Proving;
use super::queue_item::LANDING;
use super::state::{Device, Flight};

/// An uplink reaches us no later than this after it was sent: deduplication, the gateway's backhaul, a slow webhook.
pub(super) const DELIVERY: Duration = Duration::from_secs(30);

/// Frames that are remembered. With more of them unheard, the next report only says where to count from.
const FLIGHTS_MAX: usize = 32;

impl Device {
    /// A frame is about to go out.
    pub(super) fn take_off(&mut self, flight: Flight) {
        if self.flights.len() >= FLIGHTS_MAX {
            self.flights.remove(0);
            self.uncounted = true;
            if let Some(active) = &mut self.active
                && let Some(proving) = &mut active.proving
            {
                proving.forget_baseline();
            }
            if let Some(unproven) = &mut self.unproven {
                unproven.proving.forget_baseline();
            }
        }
        self.flights.push(flight);
    }

    /// The count and the light that were reported last, as far as they are a measure for what comes.
    pub(super) fn known_before(&self) -> (Option<u32>, Option<LightState>) {
        if self.uncounted {
            (None, None)
        } else {
            (self.session.downlinks_received, self.session.light)
        }
    }

    /// The lights of other downlinks' frames that the next report may be about.
    pub(super) fn other_lights(&self, id: DownlinkId) -> Vec<Option<LightState>> {
        self.others(id).map(|flight| flight.light).collect()
    }

    /// The report shows another frame of ours: no sign that this one was lost.
    pub(super) fn is_light_of_another(
        &self,
        id: DownlinkId,
        proving: &Proving,
        report: &Report,
    ) -> bool {
        report.light.is_some()
            && self
                .others(id)
                .any(|flight| flight.light.or(proving.light_before) == report.light)
    }

    /// An acknowledgement does not say of what: it may be another frame's, held back by the device's duty cycle.
    pub(super) fn is_ack_ambiguous(&self, id: DownlinkId) -> bool {
        self.others(id).any(|flight| flight.awaits_ack)
    }

    /// The device acknowledged this frame, if no other's acknowledgement was due: it owes none any more.
    pub(super) fn settle_ack(&mut self, attempt: u32) {
        let owes_another = |flight: &Flight| flight.attempt != attempt && flight.awaits_ack;
        if self.flights.iter().any(owes_another) {
            return;
        }
        for flight in &mut self.flights {
            flight.awaits_ack = false;
        }
    }

    /// The device spoke: what it had to acknowledge, it has.
    pub(super) fn end_acks(&mut self, now: Timestamp) {
        for flight in &mut self.flights {
            flight.awaits_ack &= !flight.is_counted(now);
        }
    }

    fn others(&self, id: DownlinkId) -> impl Iterator<Item = &Flight> {
        self.flights
            .iter()
            .filter(move |flight| flight.downlink_id != id)
    }

    /// The session that they were encrypted for has ended. What is still in the queue is encrypted anew; and what left
    /// it lately may have been, because the news of a session takes its time.
    pub(super) fn flights_end_with_session(&mut self, now: Timestamp) {
        self.flights.retain(|flight| {
            flight
                .over_at
                .is_none_or(|over_at| over_at + DELIVERY >= now + LANDING)
        });
        self.uncounted = false;
    }

    /// Forgets what a report has counted: a frame that it shows has landed, and no earlier one can any more; and a
    /// frame that could land only until long before it has landed or never will.
    pub(super) fn land_flights(&mut self, now: Timestamp, report: &Report) {
        let before = self.session.downlinks_received;
        if report.downlinks_received.is_none() && before.is_some() {
            return;
        }
        let grown_by = match (report.downlinks_received, before) {
            (Some(count), Some(before)) => count.saturating_sub(before),
            (_, _) => 0,
        };
        // A light that was shown already says nothing, as long as settings alone explain how far the count grew. Then
        // so many of them have landed; which, does not matter to what the others can explain.
        let settings = self.flights.iter().filter(|flight| flight.light.is_none());
        let (by_settings, mut landed_settings) = if self.session.light == report.light {
            (
                u32::try_from(settings.count()).unwrap_or(u32::MAX),
                grown_by,
            )
        } else {
            (0, 0)
        };
        let landed = self
            .flights
            .iter()
            .position(|flight| flight.light.is_some() && flight.light == report.light)
            .filter(|_| grown_by > by_settings && !self.uncounted);
        let in_queue = self.item.as_ref().map(|item| item.attempt);
        let mut index = 0;
        self.flights.retain(|flight| {
            let has_landed = landed.is_some_and(|landed| index <= landed);
            index += 1;
            if Some(flight.attempt) == in_queue {
                return true;
            }
            let is_setting = flight.light.is_none();
            let is_one_of_them = is_setting && landed_settings > 0;
            landed_settings -= u32::from(is_one_of_them);
            !has_landed && !is_one_of_them && !flight.is_counted(now)
        });
        self.uncounted = false;
    }
}

impl Flight {
    /// Whether an uplink that arrives now was sent after the frame landed, if it did.
    fn is_counted(&self, now: Timestamp) -> bool {
        self.over_at
            .is_some_and(|over_at| now >= over_at + DELIVERY)
    }
}
