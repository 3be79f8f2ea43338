//! Calls of ChirpStack's API: paced, held, slow, refused, lost on the way there or back.

use std::time::Duration;

use downbeat_core::id::{DevEui, JoinEui};
use downbeat_core::sync::{RemoteDevice, SyncCall, SyncEvent, SyncFailure, WantedDevice};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::{ApiFault, DeviceFields, DeviceKeys, Network};

use crate::registry::{INVALID_NAME, key};
use crate::shell::{Planned, Shell};

/// A call is given up after this.
const DEADLINE_MS: u64 = 3_000;
/// A slow ChirpStack carries a call out no later than this after it began.
const SLOWEST_CALL_MS: u64 = 4_500;
/// Calls begin at least so far apart.
const SPACING: Duration = Duration::from_millis(50);
/// A call that goes stale is not begun later than this after it was asked for.
const STALE_AFTER: Duration = Duration::from_secs(3);

/// A call that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) slot: usize,
    /// The row and the life of the machine that asked.
    pub(crate) row: u32,
    pub(crate) life: u32,
    pub(crate) number: u32,
    pub(crate) what: SyncCall,
    pub(crate) asked_at: Timestamp,
    /// What its machine wanted.
    pub(crate) wanted: Option<WantedDevice>,
    /// Deeds of others before what it decided from was read.
    pub(crate) deeds: u64,
}

/// An answer on its way to the machine that asked.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) slot: usize,
    pub(crate) row: u32,
    pub(crate) life: u32,
    pub(crate) event: SyncEvent,
    /// Deeds of others before what it tells was so.
    pub(crate) deeds: u64,
}

impl Shell {
    /// Begins the calls whose turn it is.
    pub(crate) fn begin_calls(&mut self) {
        while self.next_call_at().is_some_and(|at| at <= self.now) {
            let call = self.pool.pop_front().expect("there is one");
            let is_stale = call.what.goes_stale() && self.now.since(call.asked_at) > STALE_AFTER;
            if is_stale || !self.has_key(&call) {
                let event = answer(&call, Err(SyncFailure::Unavailable));
                self.plan_answer(self.now, &call, event, call.deeds);
                continue;
            }
            self.call_allowed_at = self.now + SPACING;
            self.begin(call);
        }
    }

    /// When the next call may begin, if one waits.
    pub(crate) fn next_call_at(&self) -> Option<Timestamp> {
        let is_held = self.scenario.holds_calls && !self.network.is_server_up();
        (!is_held && !self.pool.is_empty()).then_some(self.call_allowed_at)
    }

    /// Only the newest key is stored.
    fn has_key(&self, call: &Call) -> bool {
        let SyncCall::SetKey { revision } = call.what else {
            return true;
        };
        let row = self.slots[call.slot].row.as_ref();
        row.and_then(|row| row.wish.device.as_ref())
            .is_some_and(|device| device.app_key_revision == Some(revision))
    }

    fn begin(&mut self, call: Call) {
        self.tally.calls += 1;
        self.trace.line(self.now, "call", || {
            format!("{} #{} {}", call.slot, call.number, name(&call.what))
        });
        let faults = if self.faulty {
            self.scenario.calls
        } else {
            crate::scenario::CallFaults::default()
        };
        let there_ms = self.latency_ms(faults.slow);
        let back_ms = self.latency_ms(faults.slow);
        if self.faulty && self.random.chance(self.scenario.crash) {
            let at = self.now + Duration::from_millis(self.random.below(50));
            self.plan(at, Planned::ProcessIsKilled);
        }
        let back_at = self.now + Duration::from_millis((there_ms + back_ms).min(DEADLINE_MS));
        if self.random.chance(faults.unavailable) {
            self.tally.unavailable += 1;
            self.answer_later(back_at, &call, Err(SyncFailure::Unavailable));
        } else if self.random.chance(faults.unauthenticated) {
            self.answer_later(back_at, &call, Err(SyncFailure::Unauthenticated));
        } else if self.random.chance(faults.refused) {
            self.tally.refused += 1;
            if self.random.chance(0.2) {
                // It fails after it was carried out.
                self.plan(self.now, Planned::Execute(call.clone(), None));
            }
            let failure = SyncFailure::Refused("INTERNAL: connection reset".to_owned());
            self.answer_later(back_at, &call, Err(failure));
        } else if there_ms + back_ms >= DEADLINE_MS || self.random.chance(faults.answer_lost) {
            self.tally.lost += 1;
            if self.random.chance(0.7) {
                let at = self.now + Duration::from_millis(there_ms);
                self.lost_until = self.lost_until.max(at);
                self.plan(at, Planned::Execute(call.clone(), None));
            }
            let given_up_ms = if self.random.chance(0.5) {
                DEADLINE_MS
            } else {
                self.random.below(DEADLINE_MS)
            };
            let given_up_at = self.now + Duration::from_millis(given_up_ms);
            self.answer_later(given_up_at, &call, Err(SyncFailure::AnswerLost));
        } else {
            let at = self.now + Duration::from_millis(there_ms);
            // If the process is killed meanwhile, this is a lost call too.
            self.lost_until = self.lost_until.max(at);
            self.plan(at, Planned::Execute(call, Some(back_at)));
        }
    }

    fn latency_ms(&mut self, slow: f64) -> u64 {
        if self.random.chance(slow) {
            self.random.below(SLOWEST_CALL_MS)
        } else {
            1 + self.random.below(30)
        }
    }

    fn answer_later(&mut self, at: Timestamp, call: &Call, result: Result<(), SyncFailure>) {
        let event = answer(call, result.map(|()| None));
        self.plan_answer(at, call, event, call.deeds);
    }

    fn plan_answer(&mut self, at: Timestamp, call: &Call, event: SyncEvent, deeds: u64) {
        let answer = Answer {
            slot: call.slot,
            row: call.row,
            life: call.life,
            event,
            deeds,
        };
        if self.faulty && self.random.chance(self.scenario.calls.repeated) {
            let later = at + Duration::from_millis(self.random.below(10_000));
            self.plan(later, Planned::Tell(answer.clone()));
        }
        self.plan(at, Planned::Tell(answer));
    }

    /// ChirpStack carries a call out, and answers if `answer_at`.
    pub(crate) fn on_execute(
        &mut self,
        call: &Call,
        answer_at: Option<Timestamp>,
    ) -> Result<(), String> {
        let dev_eui = self.slots[call.slot].dev_eui;
        let result = self.execute(dev_eui, call);
        self.trace.line(self.now, "server", || {
            let lost = if answer_at.is_some() {
                ""
            } else {
                ", answer lost"
            };
            format!(
                "{} #{} {} {}{lost}",
                call.slot,
                call.number,
                name(&call.what),
                told(&result)
            )
        });
        if result.is_ok() {
            self.check_executed(call)?;
        }
        if let Some(at) = answer_at {
            // A key follows what was read before it.
            let deeds = match call.what {
                SyncCall::SetKey { .. } => call.deeds,
                SyncCall::Look | SyncCall::Create(_) | SyncCall::Update(_) | SyncCall::Delete => {
                    self.slots[call.slot].deeds
                }
            };
            let event = answer(call, result);
            self.plan_answer(at, call, event, deeds);
        }
        Ok(())
    }

    fn execute(
        &mut self,
        dev_eui: DevEui,
        call: &Call,
    ) -> Result<Option<RemoteDevice>, SyncFailure> {
        let (now, network) = (self.now, &mut self.network);
        match &call.what {
            SyncCall::Look => match network.device(dev_eui) {
                Ok(record) => return Ok(Some(as_read(dev_eui, &record.fields))),
                Err(ApiFault::UnknownDevice) => return Ok(None),
                Err(fault) => Err(fault),
            },
            SyncCall::Create(device) | SyncCall::Update(device) if device.name == INVALID_NAME => {
                Err(ApiFault::Invalid("name"))
            }
            SyncCall::Create(device) => network.create_device(now, dev_eui, as_written(device)),
            SyncCall::Update(device) => network.update_device(now, dev_eui, as_written(device)),
            SyncCall::Delete => network.delete_device(now, dev_eui),
            SyncCall::SetKey { revision } => {
                let wanted = call.wanted.as_ref().expect("a key is wanted");
                let keys = DeviceKeys {
                    nwk_key: key(wanted.device_id, *revision),
                    ..DeviceKeys::default()
                };
                set_key(network, now, dev_eui, keys)
            }
        }
        .map(|()| None)
        .map_err(|fault| match fault {
            ApiFault::Unavailable => SyncFailure::Unavailable,
            ApiFault::UnknownDevice => SyncFailure::UnknownDevice,
            ApiFault::Duplicate => SyncFailure::Refused(
                "duplicate key value violates unique constraint \"device_pkey\"".to_owned(),
            ),
            ApiFault::NotFound => SyncFailure::Refused("Object does not exist".to_owned()),
            ApiFault::Invalid(what) => SyncFailure::Invalid(what.to_owned()),
        })
    }
}

fn set_key(
    network: &mut Network,
    now: Timestamp,
    dev_eui: DevEui,
    keys: DeviceKeys,
) -> Result<(), ApiFault> {
    match network.update_keys(now, dev_eui, keys) {
        Err(ApiFault::NotFound) => network.create_keys(now, dev_eui, keys),
        result => result,
    }
}

fn answer(call: &Call, result: Result<Option<RemoteDevice>, SyncFailure>) -> SyncEvent {
    let number = call.number;
    let done = result.clone().map(|_| ());
    match call.what {
        SyncCall::Look => SyncEvent::Looked {
            call: number,
            result,
        },
        SyncCall::Create(_) => SyncEvent::Created {
            call: number,
            result: done,
        },
        SyncCall::Update(_) => SyncEvent::Updated {
            call: number,
            result: done,
        },
        SyncCall::Delete => SyncEvent::Deleted {
            call: number,
            result: done,
        },
        SyncCall::SetKey { .. } => SyncEvent::KeySet {
            call: number,
            result: done,
        },
    }
}

/// The answer to a call that is taken back before it was begun.
pub(crate) fn taken_back(call: &Call) -> SyncEvent {
    answer(call, Err(SyncFailure::Unavailable))
}

pub(crate) fn name(call: &SyncCall) -> String {
    match call {
        SyncCall::Look => "look".to_owned(),
        SyncCall::Create(device) => format!("create {}", in_words(device)),
        SyncCall::Update(device) => format!("update {}", in_words(device)),
        SyncCall::Delete => "delete".to_owned(),
        SyncCall::SetKey { revision } => format!("key {revision}"),
    }
}

fn told(result: &Result<Option<RemoteDevice>, SyncFailure>) -> String {
    match result {
        Ok(None) => "done".to_owned(),
        Ok(Some(device)) => in_words(device),
        Err(failure) => failure.to_string(),
    }
}

pub(crate) fn in_words(device: &RemoteDevice) -> String {
    format!(
        "{:?} in {} {:?} {:?}",
        device.name,
        device.application_id.as_u128() & 0xff,
        device.tags,
        device.variables
    )
}

pub(crate) fn as_written(device: &RemoteDevice) -> DeviceFields {
    DeviceFields {
        name: device.name.clone(),
        description: device.description.clone(),
        application_id: device.application_id,
        device_profile_id: device.device_profile_id,
        join_eui: device.join_eui.as_u64(),
        is_disabled: device.is_disabled,
        skip_fcnt_check: device.skip_fcnt_check,
        tags: device.tags.clone(),
        variables: device.variables.clone(),
    }
}

pub(crate) fn as_read(dev_eui: DevEui, fields: &DeviceFields) -> RemoteDevice {
    RemoteDevice {
        dev_eui,
        name: fields.name.clone(),
        description: fields.description.clone(),
        application_id: fields.application_id,
        device_profile_id: fields.device_profile_id,
        join_eui: JoinEui::from_u64(fields.join_eui),
        is_disabled: fields.is_disabled,
        skip_fcnt_check: fields.skip_fcnt_check,
        tags: fields.tags.clone(),
        variables: fields.variables.clone(),
    }
}
