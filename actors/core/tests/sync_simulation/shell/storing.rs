//! What survives: machines are stored, processes end, and machines are taken up again.

use std::time::Duration;

use downbeat_core::sync::{RemoteDevice, Sync, SyncCall, SyncEffect, SyncEvent};

use crate::calls::{Call, name};
use crate::scenario::START;

use super::{Planned, Shell};

/// A crash is not an error of the machine: the step ends here.
struct Crashed;

impl Shell {
    pub(super) fn store_and_call(
        &mut self,
        slot: usize,
        effects: Vec<SyncEffect>,
        seen: Option<&RemoteDevice>,
        deeds: Option<u64>,
    ) -> Result<(), String> {
        for SyncEffect::Call { what, .. } in &effects {
            let generation = self.slots[slot].sync.as_ref().map_or(0, Sync::generation);
            let wish = self.slots[slot]
                .wishes
                .get(&generation)
                .ok_or("a call without a wish")?;
            self.check_asked(slot, what, wish, seen)?;
        }
        if let Err(Crashed) = self.store_then_call(slot, effects, deeds) {
            self.crash();
            return Ok(());
        }
        let sync = self.slots[slot].sync.as_ref();
        if sync.is_some_and(Sync::is_settled) && self.random.chance(0.3) {
            self.slots[slot].sync = None;
        }
        Ok(())
    }

    fn store_then_call(
        &mut self,
        slot: usize,
        effects: Vec<SyncEffect>,
        deeds: Option<u64>,
    ) -> Result<(), Crashed> {
        let (early, late): (Vec<_>, Vec<_>) =
            effects
                .into_iter()
                .partition(|SyncEffect::Call { what, .. }| {
                    self.scenario.early_looks && *what == SyncCall::Look
                });
        self.ask(slot, early, deeds);
        self.may_crash()?;
        self.store(slot);
        self.may_crash()?;
        self.ask(slot, late, deeds);
        self.may_crash()
    }

    fn may_crash(&mut self) -> Result<(), Crashed> {
        let crashes = self.faulty && self.random.chance(self.scenario.crash / 3.0);
        if crashes { Err(Crashed) } else { Ok(()) }
    }

    /// One transaction: the machine, or the row's end if no newer wish came.
    fn store(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let (Some(sync), Some(row)) = (&slot.sync, &mut slot.row) else {
            return;
        };
        if sync.is_finished_tombstone() && sync.generation() == row.wish.generation {
            self.trace.line(self.now, "removed", || index);
            self.tally.tombstones += 1;
            slot.row = None;
            slot.sync = None;
            return;
        }
        row.sync = Some(serde_json::to_string(sync).expect("it can be stored"));
    }

    fn ask(&mut self, index: usize, effects: Vec<SyncEffect>, deeds: Option<u64>) {
        for SyncEffect::Call { call, what } in effects {
            let slot = &mut self.slots[index];
            let Some(row) = &mut slot.row else { return };
            let generation = slot.sync.as_ref().map_or(0, Sync::generation);
            row.begun |= matches!(what, SyncCall::Create(_) | SyncCall::Update(_));
            self.trace.line(self.now, "asks", || {
                format!("{index} #{call} {}", name(&what))
            });
            self.pool.push_back(Call {
                slot: index,
                row: row.number,
                life: slot.life,
                number: call,
                what,
                asked_at: self.now,
                wanted: slot.wishes[&generation].device.clone(),
                deeds: deeds.unwrap_or(slot.deeds),
            });
        }
    }

    /// Everything that is not stored is gone, and what was not begun never is.
    pub(super) fn crash(&mut self) {
        let longest = if self.random.chance(0.5) { 500 } else { 8_000 };
        let until = self.now + Duration::from_millis(50 + self.random.below(longest));
        self.trace.line(self.now, "CRASH", || {
            format!("until {}", until.since(START).as_secs_f64())
        });
        self.tally.crashes += 1;
        self.is_down = true;
        self.pool.clear();
        self.slots.iter_mut().for_each(|slot| slot.sync = None);
        self.plan(until, Planned::ProcessStarts);
    }

    pub(super) fn on_process_starts(&mut self) -> Result<(), String> {
        self.trace
            .line(self.now, "START", || "from what was stored");
        self.is_down = false;
        for slot in 0..self.slots.len() {
            if !self.is_down && self.slots[slot].row.is_some() {
                self.take_up(slot)?;
            }
        }
        Ok(())
    }

    /// A machine is what was stored of it, and the newest wish.
    pub(super) fn take_up(&mut self, index: usize) -> Result<(), String> {
        let seed = self.random.next_u64();
        let clock = self.clock();
        let slot = &mut self.slots[index];
        let Some(row) = &slot.row else { return Ok(()) };
        let wish = row.wish.clone();
        slot.life += 1;
        let mut sync = match &row.sync {
            Some(json) => serde_json::from_str(json).map_err(|error| error.to_string())?,
            None => Sync::new(slot.dev_eui, seed),
        };
        let was_settled = sync.is_settled();
        let effects = sync.restore(clock);
        if was_settled && !effects.is_empty() {
            return Err("a settled machine acts".to_owned());
        }
        let settles = !was_settled && sync.is_settled();
        slot.sync = Some(sync);
        if settles {
            self.on_settled(index, None)?;
        }
        self.store_and_call(index, effects, None, None)?;
        if self.slots[index].row.is_some() && self.slots[index].sync.is_none() && !self.is_down {
            // Settled, and dropped again at once: the wish below finds it anew.
            let at = self.now + Duration::from_millis(1);
            let number = self.slots[index].rows;
            self.plan(at, Planned::Hint(index, number, None));
        }
        if self.slots[index].sync.is_some() {
            self.step(index, SyncEvent::Wanted(wish), None)?;
        }
        Ok(())
    }
}
