//! What Downbeat itself adds between a command's acceptance and its first Enqueue.
//!
//! Only a command that meets a device with nothing else to do is measured, and only as long as nothing but the air holds
//! it up: the time that the pacer kept it is taken off.

use std::time::Duration;

use downbeat_core::device::{Effect, Reason, Step};
use downbeat_core::id::DownlinkId;
use tokio::time::Instant;

/// The command that is measured, if any.
#[derive(Debug, Default)]
pub(super) struct OwnTime {
    /// Which one, and when it was accepted; later by what the pacer took.
    command: Option<(DownlinkId, Instant)>,
}

impl OwnTime {
    /// What a step led to; `was_idle`: the device had nothing to do before.
    pub(super) fn note(&mut self, was_idle: bool, effects: &[Effect]) {
        for effect in effects {
            let Effect::Record(record) = effect else {
                continue;
            };
            let id = record.downlink.id;
            match &record.entry.step {
                Step::Accepted if was_idle => self.command = Some((id, Instant::now())),
                Step::Waiting { reason, .. } if *reason != Reason::Paced && self.is(id) => {
                    self.command = None;
                }
                Step::Accepted
                | Step::Waiting { .. }
                | Step::Enqueued { .. }
                | Step::Transmitted { .. }
                | Step::NotTransmitted { .. }
                | Step::Refused { .. }
                | Step::AttemptFailed { .. }
                | Step::Verified { .. }
                | Step::Ended { .. } => {}
            }
        }
    }

    /// The pacer kept it for so long.
    pub(super) fn was_paced(&mut self, pause: Duration) {
        if let Some((_, began)) = &mut self.command {
            *began += pause;
        }
    }

    /// It is about to be enqueued: when it would have been accepted, had the air been free. Told once.
    pub(super) fn take(&mut self, id: DownlinkId) -> Option<Instant> {
        let (measured, began) = self.command.take()?;
        (measured == id).then_some(began)
    }

    fn is(&self, id: DownlinkId) -> bool {
        self.command.is_some_and(|(measured, _)| measured == id)
    }
}

#[cfg(test)]
mod tests {
    use downbeat_core::codec::{CodecKind, Command};
    use downbeat_core::device::{Device, Event, Policy, Request};
    use downbeat_core::gateway::{GatewaySnapshot, GatewayTable};
    use downbeat_core::light::{Color, LightState};
    use downbeat_core::time::Timestamp;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn no_gateways() -> GatewaySnapshot {
        GatewayTable::default().snapshot(Timestamp::from_millis(0))
    }

    fn id(number: u128) -> DownlinkId {
        DownlinkId::from_uuid(uuid::Uuid::from_u128(number))
    }

    /// What a fresh device does when a colour is asked of it.
    fn asked(device: &mut Device, number: u128) -> Vec<Effect> {
        let color = Command::SetLight(LightState::steady(Color::rgb(1, 2, 3)));
        let codec = CodecKind::KuandoBusylight;
        let request = Request::new(id(number), codec, &color, false, true);
        let event = Event::Requested(request.expect("it is understood"));
        let now = Timestamp::from_millis(1_795_000_000_000);
        device.step(now, event, &no_gateways())
    }

    fn device() -> Device {
        Device::new(CodecKind::KuandoBusylight, Policy::default(), 1)
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_pacer_took_is_no_time_of_ours() {
        let mut own = OwnTime::default();
        own.note(true, &asked(&mut device(), 1));
        tokio::time::advance(MS(3)).await;
        tokio::time::advance(MS(500)).await;
        own.was_paced(MS(500));
        tokio::time::advance(MS(4)).await;
        assert_eq!(own.take(id(1)).map(|it| it.elapsed()), Some(MS(7)));
        assert_eq!(own.take(id(1)), None, "the second attempt is no first one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_something_else_is_not_measured() {
        let mut own = OwnTime::default();
        own.note(false, &asked(&mut device(), 1));
        assert_eq!(own.take(id(1)), None, "another command was under way");

        let mut device = device();
        own.note(true, &asked(&mut device, 1));
        let waiting = device.step(
            Timestamp::from_millis(1_795_000_000_001),
            Event::Awaited(true),
            &no_gateways(),
        );
        own.note(true, &waiting);
        assert_eq!(
            own.take(id(1)),
            None,
            "ChirpStack is still to be told of it"
        );

        own.note(true, &asked(&mut self::device(), 2));
        assert_eq!(own.take(id(3)), None, "that is another one");
    }
}
