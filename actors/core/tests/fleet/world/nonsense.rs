//! Webhooks that should not be: told before, or telling what cannot be.

use downbeat_core::device::Reported;
use downbeat_core::id::{DevAddr, GatewayId, QueueItemId};
use downbeat_core::network::{NetworkEvent, Reception, Transmitted, Uplink};
use downbeat_core::random::Random;

use super::World;
use crate::scenario::START;
use crate::tally::Count;

impl World {
    /// Changes nothing that is known of the device: its light, its counters, what it is told.
    pub(super) fn tell_nonsense(&mut self, slot: usize, decide: u64) {
        if self.is_down || self.slots[slot].actor.is_none() {
            return;
        }
        let mut random = Random::from_seed(decide);
        let told = &self.slots[slot].webhooks;
        let number = u64::try_from(told.len()).expect("a few");
        let last_uplink = told.iter().rev().find_map(|event| {
            if let NetworkEvent::Heard(uplink) = event {
                Some(uplink.clone())
            } else {
                None
            }
        });
        let event = match (random.below(4), last_uplink) {
            (0, Some(uplink)) => absurd_signal(uplink, &mut random),
            (1, Some(uplink)) => impossible_counter(uplink, &mut random),
            (2, _) => unknown_item(&mut random),
            _ if number == 0 => return,
            _ => {
                let which = usize::try_from(random.below(number)).expect("a few");
                told[which].clone()
            }
        };
        self.tally.count(Count::Nonsense);
        self.telling
            .of(self.now, slot, "nonsense", || format!("{event:?}"));
        let is_known = self.slots[slot].has_committed(&event);
        let before = self.reported_by(slot);
        self.report(slot, Box::new(event.clone()));
        // The process may have died of it, for other reasons.
        let is_there = self.slots[slot].actor.is_some();
        if is_known && is_there && before != self.reported_by(slot) {
            self.check(Err(format!("device {slot}: {event:?} was taken for news")));
        }
    }

    fn reported_by(&self, slot: usize) -> Option<Reported> {
        let actor = self.slots[slot].actor.as_ref()?;
        actor.machine.reported().copied()
    }
}

/// The last uplink, as a gateway that nobody knows says that it heard it, too.
fn absurd_signal(uplink: Uplink, random: &mut Random) -> NetworkEvent {
    let absurd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30];
    let snr_db = absurd[usize::try_from(random.below(4)).expect("a few")];
    let reception = Reception {
        gateway_id: GatewayId::from_u64(0),
        rssi_dbm: [i32::MIN, i32::MAX][usize::try_from(random.below(2)).expect("a few")],
        snr_db,
    };
    NetworkEvent::Heard(Uplink {
        receptions: vec![reception],
        ..uplink
    })
}

/// A counter that no uplink has, of the session or of one that there never was. It says nothing that can be read.
fn impossible_counter(uplink: Uplink, random: &mut Random) -> NetworkEvent {
    let other =
        DevAddr::from_u32(0xfe00_0000 | u32::try_from(random.below(1 << 16)).expect("16 bits"));
    let dev_addr = [uplink.dev_addr, Some(other)];
    NetworkEvent::Heard(Uplink {
        deduplication_id: Some(random.uuid_v7(uplink.received_at.unwrap_or_default())),
        dev_addr: dev_addr[usize::try_from(random.below(2)).expect("a few")],
        f_cnt: u32::MAX,
        payload: vec![0xff; 3],
        ..uplink
    })
}

/// A tx-ack of an item that nobody put into a queue.
fn unknown_item(random: &mut Random) -> NetworkEvent {
    NetworkEvent::Transmitted(Transmitted {
        queue_item_id: Some(QueueItemId::from_uuid(
            Random::from_seed(random.next_u64()).uuid_v7(START),
        )),
        f_cnt_down: u32::MAX,
        gateway_id: None,
        modulation: None,
        frequency_hz: None,
        timing: None,
    })
}
