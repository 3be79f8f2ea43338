//! Uplinks and joins: which boot epoch they belong to, and what they mean for what was sent.
//!
//! An uplink is better than a timer. Whatever it says of the active downlink is acted on at once; and because any
//! uplink refreshes ChirpStack's route to the device, it is also the best moment for the next attempt.

use crate::codec::{Proof, Report};
use crate::id::{DevAddr, GatewayId};
use crate::network::{Joined, Uplink};
use crate::time::Timestamp;

use super::downlink::{Evidence, Reason, UplinkEvidence};
use super::event::Effect;
use super::flights::DELIVERY;
use super::presence::Presence;
use super::proof::{Proving, Verdict};
use super::state::{Active, Device, Heard, Phase, Reported};

/// Gateways of an uplink that are kept.
const RECEPTIONS_MAX: usize = 8;

/// Where an uplink stands against what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Newer than all known of this session.
    Newest,
    /// The first known of a session whose join was not seen.
    NewSession,
    /// Older than known, or known: history, not state.
    Old,
    /// So far ahead of all known, or behind it, that it cannot be of the same session: one of the two is wrong. Or of a
    /// session that nobody knows, and received before what was heard last: a former one that is told again, or a clock
    /// that is wrong. One that follows it makes it true.
    Doubtful,
}

/// The network server counts on from the 16 bits that are on the air: more it cannot miss (LoRaWAN 1.0.4, 4.3.1.5).
const COUNTER_GAP_MAX: u32 = 1 << 16;

/// Whether a counter can be of the same session, and later.
pub(super) fn follows(before: u32, after: u32) -> bool {
    after > before && after - before <= COUNTER_GAP_MAX
}

/// Whether a counter can be of the same session, and known or late.
pub(super) fn is_passed(last: u32, f_cnt: u32) -> bool {
    f_cnt <= last && last - f_cnt <= COUNTER_GAP_MAX
}

impl Device {
    pub(super) fn on_joined(&mut self, now: Timestamp, joined: Joined, effects: &mut Vec<Effect>) {
        let known = joined.dev_addr.is_some()
            && (joined.dev_addr == self.session.dev_addr
                || self
                    .session
                    .former
                    .iter()
                    .any(|former| Some(*former) == joined.dev_addr));
        let repeated =
            joined.deduplication_id.is_some() && joined.deduplication_id == self.session.last_join;
        if known || repeated {
            return;
        }
        self.session.begin_epoch(now, joined.dev_addr);
        self.session.last_join = joined.deduplication_id;
        self.session.awaiting_first_uplink = true;
        self.flights_end_with_session(now);
        self.on_new_epoch(now, effects);
    }

    pub(super) fn on_heard(&mut self, now: Timestamp, uplink: &Uplink, effects: &mut Vec<Effect>) {
        let report = self
            .codec
            .codec()
            .decode(uplink.f_port, &uplink.payload)
            .ok();
        let place = self.place(now, uplink, report.as_ref());
        if place == Place::Old {
            self.count_older(uplink);
            return;
        }
        if place == Place::Doubtful {
            self.session.doubtful = Some((uplink.dev_addr, uplink.f_cnt));
            return;
        }
        self.session.doubtful = None;
        let first_after_join = self.session.awaiting_first_uplink;
        self.session.awaiting_first_uplink = false;
        if place == Place::NewSession {
            self.session.begin_epoch(now, uplink.dev_addr);
            self.flights_end_with_session(now);
            self.on_new_epoch(now, effects);
        } else if report
            .as_ref()
            .is_some_and(|report| self.counts_went_down(report))
        {
            self.session.begin_epoch(now, None);
            self.on_new_epoch(now, effects);
        }
        self.session.dev_addr = uplink.dev_addr.or(self.session.dev_addr);
        if first_after_join || place == Place::NewSession {
            self.check_item_soon(now);
        }
        self.note_heard(now, uplink);
        self.presence = Presence::Online;
        let battery = uplink.battery_percent.filter(|percent| percent.is_finite());
        self.battery_percent = battery.or(self.battery_percent);
        self.end_acks(now);
        if let Some(report) = report {
            self.on_report(now, uplink, report, effects);
        }
        self.begin_initialisation_if_due(now);
        self.seize_the_moment();
    }

    fn place(&self, now: Timestamp, uplink: &Uplink, report: Option<&Report>) -> Place {
        let session = &self.session;
        if let Some(dev_addr) = uplink.dev_addr
            && session.dev_addr != Some(dev_addr)
        {
            return self.place_of_another(now, dev_addr, uplink);
        }
        let Some(heard) = session.heard.as_ref().filter(|heard| heard.in_session) else {
            return Place::Newest;
        };
        // Relays pass bodies on that tell no counter at all: then each is news.
        let is_uncounted = uplink.f_cnt == 0
            && heard.f_cnt == 0
            && uplink.dev_addr.is_none()
            && uplink.deduplication_id.is_none();
        if is_uncounted || follows(heard.f_cnt, uplink.f_cnt) {
            Place::Newest
        } else if uplink.dev_addr.is_none()
            && uplink.f_cnt <= heard.f_cnt
            && report.is_some_and(|report| self.counts_went_down(report))
        {
            // A server that does not tell the address (v3): the device's own counters tell the restart.
            Place::NewSession
        } else if is_passed(heard.f_cnt, uplink.f_cnt) {
            Place::Old
        } else if session.is_no_more_in_doubt(uplink.dev_addr, uplink.f_cnt) {
            Place::Newest
        } else {
            Place::Doubtful
        }
    }

    /// Where an uplink stands whose address is not that of the session.
    fn place_of_another(&self, now: Timestamp, dev_addr: DevAddr, uplink: &Uplink) -> Place {
        let session = &self.session;
        let f_cnt = uplink.f_cnt;
        let last = session.last_of(dev_addr);
        let is_former = session.former.contains(&dev_addr) && !self.former_is_alive(now);
        if is_former || last.is_some_and(|last| is_passed(last, f_cnt)) {
            Place::Old
        } else if session.dev_addr.is_none() && session.heard.is_none() {
            Place::Newest
        } else if session.is_no_more_in_doubt(Some(dev_addr), f_cnt)
            || last.is_some_and(|last| follows(last, f_cnt))
            || (last.is_none() && !self.is_older_than_heard(uplink))
        {
            Place::NewSession
        } else {
            Place::Doubtful
        }
    }

    /// By the network's clock, where both tell it.
    fn is_older_than_heard(&self, uplink: &Uplink) -> bool {
        let heard = self.session.heard.as_ref();
        let heard_at = heard.and_then(|heard| heard.received_at);
        matches!((uplink.received_at, heard_at), (Some(this), Some(last)) if this < last)
    }

    /// News of a session that had ended would have arrived by now: a former one that still speaks is the living one,
    /// and it was the other whose news came late.
    fn former_is_alive(&self, now: Timestamp) -> bool {
        self.session
            .began_at
            .is_none_or(|began_at| now >= began_at + DELIVERY)
    }

    fn counts_went_down(&self, report: &Report) -> bool {
        let less = |now: Option<u32>, before: Option<u32>| matches!((now, before), (Some(now), Some(before)) if now < before);
        less(report.downlinks_received, self.session.downlinks_received)
            || less(report.uplinks_sent, self.session.uplinks_sent)
    }

    /// The device restarted. What is in the queue may still reach it: ChirpStack keeps it over a join unless told
    /// otherwise, so its proof is looked for in the new epoch.
    fn on_new_epoch(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let epoch = self.session.epoch;
        for flight in &mut self.flights {
            flight.epoch = epoch;
        }
        self.unproven = None;
        self.transient_light = None;
        self.initialise_anew(now, effects);
        let Some(active) = &mut self.active else {
            return;
        };
        if let Some(proving) = &mut active.proving {
            proving.epoch = epoch;
            proving.forget_baseline();
        }
        if matches!(active.phase, Phase::Transmitted { .. }) {
            self.void_attempt(now, effects);
        }
    }

    fn count_older(&mut self, uplink: &Uplink) {
        let of_session = uplink.dev_addr.is_none() || uplink.dev_addr == self.session.dev_addr;
        if let Some(dev_addr) = uplink.dev_addr
            && !of_session
        {
            self.session.note_former(dev_addr, uplink.f_cnt);
        }
        let session = &self.session;
        if let Some(heard) = session.heard.as_ref().filter(|heard| heard.in_session)
            && of_session
        {
            self.uplinks.count_older(heard.f_cnt, uplink.f_cnt);
        }
    }

    fn note_heard(&mut self, now: Timestamp, uplink: &Uplink) {
        self.class = uplink.class.unwrap_or(self.class);
        let last = self.session.heard.as_ref();
        let last = last
            .filter(|heard| heard.in_session)
            .map(|heard| heard.f_cnt);
        self.uplinks.count_newer(last, uplink.f_cnt);
        let modulation = uplink
            .modulation
            .unwrap_or_else(|| self.session.modulation());
        let mut receptions = uplink.receptions.clone();
        receptions.truncate(RECEPTIONS_MAX);
        for reception in &mut receptions {
            // What is no number would be stored as null and not be read back; 0 dB decides nothing.
            if !reception.snr_db.is_finite() {
                reception.snr_db = 0.0;
            }
        }
        self.session.heard = Some(Heard {
            at: now,
            f_cnt: uplink.f_cnt,
            in_session: true,
            modulation,
            receptions,
            received_at: uplink.received_at,
        });
    }

    fn on_report(
        &mut self,
        now: Timestamp,
        uplink: &Uplink,
        report: Report,
        effects: &mut Vec<Effect>,
    ) {
        self.judge_unproven(now, uplink, &report, effects);
        self.judge_active(now, uplink, &report, effects);
        self.count_quiet_reports(&report);
        self.land_flights(now, &report);
        self.session.downlinks_received = report
            .downlinks_received
            .or(self.session.downlinks_received);
        self.session.uplinks_sent = report.uplinks_sent.or(self.session.uplinks_sent);
        self.reported = Some(Reported {
            at: now,
            f_cnt: uplink.f_cnt,
            report,
        });
        if let Some(light) = report.light {
            self.session.light = Some(light);
            self.compare_with_desired(now, light);
        }
    }

    fn judge_active(
        &mut self,
        now: Timestamp,
        uplink: &Uplink,
        report: &Report,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Active {
            downlink,
            proving: Some(proving),
            phase,
            ..
        }) = &self.active
        else {
            return;
        };
        if downlink.proof != Proof::AutoUplink {
            return;
        }
        let verdict = proving.judge(
            now,
            self.session.epoch,
            report,
            &self.other_lights(downlink.id),
        );
        if let Some(evidence) = evidence(now, uplink, proving, verdict) {
            let late = match phase {
                Phase::Ready { .. } => true,
                Phase::Sending => false,
                Phase::Transmitted { window_ends, .. } => *window_ends <= now,
            };
            self.verify(now, evidence, late, effects);
            return;
        }
        let explained = self.is_light_of_another(downlink.id, proving, report);
        let lost = match phase {
            Phase::Transmitted {
                since, modulation, ..
            } => match verdict {
                Verdict::Another if !explained => Some(Reason::AnotherReceived),
                Verdict::NotReceived if now >= self.crossing_ends(*since, *modulation) => {
                    Some(Reason::LostOnAir)
                }
                // Sent once more it is counted from here; waiting for the window would only take longer.
                Verdict::Nothing if proving.is_first_count(self.session.epoch, report) => {
                    if proving.is_alike(report) {
                        Some(Reason::Uncounted)
                    } else if now >= self.crossing_ends(*since, *modulation) {
                        Some(Reason::LostOnAir)
                    } else {
                        None
                    }
                }
                Verdict::Another
                | Verdict::NotReceived
                | Verdict::Nothing
                | Verdict::Proven { .. }
                | Verdict::ProvenByState { .. } => None,
            },
            Phase::Ready { .. } | Phase::Sending => None,
        };
        if let Some(proving) = self
            .active
            .as_mut()
            .and_then(|active| active.proving.as_mut())
        {
            proving.rebase(report);
        }
        if let Some(reason) = lost {
            self.fail_attempt(now, reason, now, effects);
        }
    }

    fn judge_unproven(
        &mut self,
        now: Timestamp,
        uplink: &Uplink,
        report: &Report,
        effects: &mut Vec<Effect>,
    ) {
        let Some(unproven) = &self.unproven else {
            return;
        };
        if unproven.downlink.proof != Proof::AutoUplink {
            return;
        }
        let proving = unproven.proving;
        let verdict = proving.judge(
            now,
            self.session.epoch,
            report,
            &self.other_lights(unproven.downlink.id),
        );
        let evidence = evidence(now, uplink, &proving, verdict);
        let Some(unproven) = &mut self.unproven else {
            return;
        };
        unproven.proving.rebase(report);
        if let Some(evidence) = evidence {
            super::ending::prove(&mut unproven.downlink, now, evidence, true, effects);
            self.unproven = None;
        }
    }

    /// The device spoke: an attempt that waits for its backoff need not wait any longer.
    fn seize_the_moment(&mut self) {
        let Some(Active {
            phase: Phase::Ready { not_before, reason },
            ..
        }) = &mut self.active
        else {
            return;
        };
        let waits_for_device = match reason {
            Some(
                Reason::ServerUnavailable
                | Reason::ServerError(_)
                | Reason::UnknownDevice
                | Reason::KeyRefused,
            ) => false,
            Some(_) | None => true,
        };
        if waits_for_device {
            *not_before = None;
        }
    }
}

/// Writes down what an uplink proves.
fn evidence(
    now: Timestamp,
    uplink: &Uplink,
    proving: &Proving,
    verdict: Verdict,
) -> Option<Evidence> {
    let best = uplink.best();
    let uplink = UplinkEvidence {
        at: now,
        f_cnt: uplink.f_cnt,
        deduplication_id: uplink.deduplication_id,
        gateway_id: best.map(|reception| -> GatewayId { reception.gateway_id }),
        rssi_dbm: best.map(|reception| reception.rssi_dbm),
        snr_db: best
            .map(|reception| reception.snr_db)
            .filter(|snr_db| snr_db.is_finite()),
    };
    match verdict {
        Verdict::Proven {
            baseline,
            downlinks_received,
        } if proving.light.is_none() => Some(Evidence::Counter {
            baseline,
            downlinks_received,
            uplink,
        }),
        Verdict::Proven {
            baseline,
            downlinks_received,
        } => Some(Evidence::CounterAndState {
            baseline,
            downlinks_received,
            uplink,
        }),
        Verdict::ProvenByState { before } => Some(Evidence::StateOnly { before, uplink }),
        Verdict::Another | Verdict::NotReceived | Verdict::Nothing => None,
    }
}
