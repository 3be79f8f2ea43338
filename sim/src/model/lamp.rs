//! The lamp's firmware (kuando Busylight `IoT` Omega): frames in, reports out, counters, settings, watchdog.
//!
//! Written from the vendor's documentation alone and on its own codec, so that it cannot share a mistake with the
//! product's. It knows its session as a device does: a frame of another session is not for it, a frame counter below
//! the expected one is a replay. Radio and timing are the network's ([`super::air`]).

use std::time::Duration;

use downbeat_core::id::{DevAddr, QueueItemId};
use downbeat_core::light::{Color, LightState};
use downbeat_core::radio::{Direction, Modulation};
use downbeat_core::time::Timestamp;

use super::config::{DutyCycle, LampConfig, LampStart, ReportForm};
use super::truth::{Cause, LightTruth, ReceivedFrame};

/// Port of commands and reports.
pub(super) const F_PORT: u8 = 15;
/// Software revision ×10 in reports.
const SOFTWARE_REVISION: u8 = 58;
/// Hardware revision ×10 in reports.
const HARDWARE_REVISION: u8 = 12;

/// What commands 01 to 06 set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    heartbeat: Duration,
    watchdog: u32,
    auto_uplink: bool,
    adr: bool,
}

impl Settings {
    fn initial(config: &LampConfig) -> Self {
        Self {
            heartbeat: config.heartbeat,
            watchdog: config.watchdog,
            auto_uplink: config.auto_uplink,
            adr: true,
        }
    }

    /// What `AA 00` goes back to.
    const FACTORY: Self = Self {
        heartbeat: Duration::from_mins(30),
        watchdog: 240,
        auto_uplink: false,
        adr: true,
    };
}

/// The device's side of a session.
#[derive(Debug, Clone, Copy)]
struct Session {
    dev_addr: DevAddr,
    f_cnt_up: u32,
    /// The lowest counter that is not a replay.
    f_cnt_down: u32,
    downlinks_received: u32,
    uplinks_sent: u32,
    uplinks_since_downlink: u32,
    rssi_dbm: i32,
    snr_quarter_db: i32,
    /// A confirmed downlink waits for its acknowledgement.
    ack_due: bool,
}

/// Why a lamp restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    Watchdog,
    FactoryReset,
}

/// What a received frame makes the lamp do beyond changing its light.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reaction {
    /// Send a report soon.
    pub(super) report: bool,
    /// Send an acknowledgement soon; a report carries it too.
    pub(super) acknowledge: bool,
    /// Start the heartbeat anew with its new interval.
    pub(super) heartbeat_changed: bool,
    pub(super) restart: Option<Restart>,
}

/// A data frame as it comes out of the air.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard<'a> {
    pub(super) dev_addr: DevAddr,
    pub(super) f_cnt: u32,
    pub(super) f_port: u8,
    pub(super) confirmed: bool,
    pub(super) payload: &'a [u8],
    pub(super) queue_item_id: QueueItemId,
    pub(super) rssi_dbm: i32,
    pub(super) snr_db: f32,
}

/// An uplink as the lamp composes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Composed {
    pub(super) dev_addr: DevAddr,
    pub(super) f_cnt: u32,
    pub(super) f_port: u8,
    pub(super) payload: Vec<u8>,
    pub(super) ack: bool,
    pub(super) adr: bool,
}

/// One lamp.
#[derive(Debug)]
pub(super) struct Lamp {
    pub(super) config: LampConfig,
    settings: Settings,
    session: Option<Session>,
    pub(super) powered: bool,
    /// Counts restarts and losses of power; what was planned before one no longer happens.
    pub(super) boot: u32,
    /// Number of the last join-request.
    pub(super) dev_nonce: u32,
    reset_reason: u8,
    /// Moves with each new heartbeat plan; an older plan is void.
    pub(super) heartbeat_plan: u32,
    /// When it wants to send, and the plan's number.
    pub(super) uplink_plan: Option<(Timestamp, u32)>,
    /// Plans made so far.
    pub(super) uplink_plans: u32,
    /// The next uplink is to be a report, not a mere acknowledgement.
    pub(super) report_due: bool,
    /// While it sends it hears nothing.
    pub(super) sending: Option<(Timestamp, Timestamp)>,
    /// When its duty cycle counts as used up to zero; before that it is in debt.
    duty_free_at: Timestamp,
    /// Frames take time on air.
    pub(super) has_airtime: bool,
    pub(super) truth: LightTruth,
}

impl Lamp {
    pub(super) fn new(config: LampConfig, now: Timestamp, history_max: usize) -> Self {
        Self {
            settings: Settings::initial(&config),
            session: None,
            powered: config.start != LampStart::Unpowered,
            boot: 0,
            dev_nonce: 0,
            reset_reason: 0x01,
            heartbeat_plan: 0,
            uplink_plan: None,
            uplink_plans: 0,
            report_due: false,
            sending: None,
            duty_free_at: now,
            has_airtime: true,
            truth: LightTruth::new(
                config.dev_eui,
                config.start != LampStart::Unpowered,
                now,
                history_max,
            ),
            config,
        }
    }

    pub(super) fn heartbeat(&self) -> Duration {
        self.settings.heartbeat
    }

    pub(super) fn is_joined(&self) -> bool {
        self.session.is_some()
    }

    /// Begins a session: counters start again and the join state is shown.
    pub(super) fn join(&mut self, dev_addr: DevAddr, now: Timestamp) {
        self.session = Some(Session {
            dev_addr,
            f_cnt_up: 0,
            f_cnt_down: 0,
            downlinks_received: 0,
            uplinks_sent: 0,
            uplinks_since_downlink: 0,
            rssi_dbm: 0,
            snr_quarter_db: 0,
            ack_due: false,
        });
        self.truth.joined = true;
        self.truth.downlinks_received = 0;
        self.truth.uplinks_sent = 0;
        self.truth.show(self.config.join_state, now, Cause::Joined);
    }

    /// Loses session, plans and light; settings stay if the lamp keeps them.
    pub(super) fn go_dark(&mut self, now: Timestamp, cause: Cause) {
        self.session = None;
        self.boot += 1;
        self.uplink_plan = None;
        self.report_due = false;
        self.sending = None;
        self.truth.joined = false;
        self.reset_reason = if cause == Cause::Watchdog { 0x20 } else { 0x01 };
        if !self.config.keeps_settings {
            self.settings = Settings::FACTORY;
        }
        if cause == Cause::FactoryReset {
            self.settings = Settings::FACTORY;
            self.reset_reason = 0x40;
        }
        self.truth.show(LightState::OFF, now, cause);
    }

    /// A frame of this lamp's session reached it.
    pub(super) fn receive(&mut self, heard: Heard<'_>, now: Timestamp) -> Reaction {
        let Some(session) = self
            .session
            .as_mut()
            .filter(|s| s.dev_addr == heard.dev_addr)
        else {
            self.truth.foreign_frames += 1;
            return Reaction::default();
        };
        if heard.f_cnt < session.f_cnt_down {
            self.truth.replays_dropped += 1;
            return Reaction::default();
        }
        session.f_cnt_down = heard.f_cnt + 1;
        session.rssi_dbm = heard.rssi_dbm;
        session.snr_quarter_db = quarter_db(heard.snr_db);
        session.uplinks_since_downlink = 0;
        session.ack_due |= heard.confirmed;
        self.truth.push_received(ReceivedFrame {
            at: now,
            queue_item_id: heard.queue_item_id,
            f_cnt_down: heard.f_cnt,
            f_port: heard.f_port,
            payload: heard.payload.to_vec(),
        });
        let mut reaction = Reaction {
            acknowledge: heard.confirmed,
            ..Reaction::default()
        };
        if heard.f_port == F_PORT {
            self.obey(heard, now, &mut reaction);
        }
        self.report_due |= reaction.report;
        reaction
    }

    fn obey(&mut self, heard: Heard<'_>, now: Timestamp, reaction: &mut Reaction) {
        let is_command = heard.payload.len() == 2;
        let counts = self.config.commands_count || !is_command;
        if let Some(session) = self.session.as_mut().filter(|_| counts) {
            session.downlinks_received = session.downlinks_received.wrapping_add(1);
            self.truth.downlinks_received = session.downlinks_received;
        }
        match *heard.payload {
            [red, blue, green, on_time, off_time] => {
                self.show(
                    [red, blue, green, on_time, off_time],
                    heard.queue_item_id,
                    now,
                );
            }
            [red, blue, green, on_time, off_time, immediate_uplink] => {
                self.show(
                    [red, blue, green, on_time, off_time],
                    heard.queue_item_id,
                    now,
                );
                reaction.report |= immediate_uplink == 1;
            }
            [code, argument] => self.set(code, argument, reaction),
            _ => {}
        }
        reaction.report |= self.settings.auto_uplink && counts;
    }

    /// kuando-busylight §2: red, **blue**, green, on, off.
    fn show(
        &mut self,
        [red, blue, green, on_time, off_time]: [u8; 5],
        item: QueueItemId,
        now: Timestamp,
    ) {
        let state = LightState {
            color: Color::rgb(red, green, blue),
            on_time,
            off_time,
        };
        self.truth.show(
            state,
            now,
            Cause::Downlink {
                queue_item_id: item,
            },
        );
    }

    /// kuando-busylight §3. Arguments of 0 where a number is meant are undocumented and ignored.
    fn set(&mut self, code: u8, argument: u8, reaction: &mut Reaction) {
        match (code, argument) {
            (0x01, _) => self.settings.adr = true,
            (0x02, _) => self.settings.adr = false,
            (0x03, 1..) => self.settings.watchdog = u32::from(argument),
            (0x04, 1..) => {
                self.settings.heartbeat = Duration::from_secs(u64::from(argument) * 60);
                reaction.heartbeat_changed = true;
            }
            (0x05, _) => reaction.report = true,
            (0x06, _) => self.settings.auto_uplink = argument != 0,
            (0xaa, 0) => reaction.restart = Some(Restart::FactoryReset),
            _ => {}
        }
    }

    /// The uplink that goes out now: the report, or an empty frame where only an acknowledgement is due.
    /// Afterwards the watchdog may have had enough.
    pub(super) fn compose(&mut self) -> Option<(Composed, Option<Restart>)> {
        let acknowledgement_only = !std::mem::take(&mut self.report_due) && self.session?.ack_due;
        let payload = if acknowledgement_only {
            Vec::new()
        } else {
            self.report()?
        };
        let session = self.session.as_mut()?;
        let composed = Composed {
            dev_addr: session.dev_addr,
            f_cnt: session.f_cnt_up,
            f_port: if acknowledgement_only { 0 } else { F_PORT },
            payload,
            ack: std::mem::take(&mut session.ack_due),
            adr: self.settings.adr,
        };
        session.f_cnt_up += 1;
        session.uplinks_since_downlink += 1;
        if !acknowledgement_only {
            session.uplinks_sent = session.uplinks_sent.wrapping_add(1);
            self.truth.uplinks_sent = session.uplinks_sent;
        }
        let restart =
            (session.uplinks_since_downlink >= self.settings.watchdog).then_some(Restart::Watchdog);
        Some((composed, restart))
    }

    /// Whether the watchdog still wants a restart: a downlink after the last uplink calms it.
    pub(super) fn watchdog_expired(&self) -> bool {
        self.session
            .is_some_and(|s| s.uplinks_since_downlink >= self.settings.watchdog)
    }

    /// kuando-busylight §4: little-endian; the counts are those before this uplink.
    fn report(&self) -> Option<Vec<u8>> {
        let session = self.session?;
        let LightState {
            color,
            on_time,
            off_time,
        } = self.truth.shown;
        let light = [color.red, color.blue, color.green, on_time, off_time];
        if self.config.report == ReportForm::Bytes10 {
            let mut short = Vec::with_capacity(10);
            short.extend(session.uplinks_sent.to_le_bytes());
            short.extend(light);
            short.push(self.reset_reason);
            return Some(short);
        }
        let mut report = Vec::with_capacity(25);
        report.extend(session.rssi_dbm.to_le_bytes());
        report.extend(session.snr_quarter_db.to_le_bytes());
        report.extend(session.downlinks_received.to_le_bytes());
        report.extend(session.uplinks_sent.to_le_bytes());
        report.extend(light);
        report.extend([
            SOFTWARE_REVISION,
            HARDWARE_REVISION,
            u8::from(self.settings.adr),
        ]);
        if self.config.report == ReportForm::Bytes25 {
            report.push(self.reset_reason);
        }
        Some(report)
    }

    /// The earliest instant at which its radio is free and its duty cycle lets it send.
    pub(super) fn may_send_at(&self, now: Timestamp) -> Timestamp {
        // However free it is to: a radio sends one frame at a time.
        let done_at = self.sending.map_or(now, |(_, end)| end);
        let free_at = self.duty_free_at - self.saved_up();
        now.max(done_at).max(free_at)
    }

    /// Sends `len` bytes of application payload from `now` on: until when.
    pub(super) fn send(&mut self, len: usize, now: Timestamp) -> Timestamp {
        let airtime = if self.has_airtime {
            Modulation::lora_125(self.config.spreading_factor).time_on_air(len, Direction::Up)
        } else {
            Duration::ZERO
        };
        let end = now + airtime;
        let DutyCycle { share, .. } = self.config.duty_cycle;
        if share < 1.0 {
            let pause = airtime.mul_f64(1.0 / share.max(1e-6));
            self.duty_free_at = self.duty_free_at.max(now) + pause;
        }
        self.sending = Some((now, end));
        end
    }

    /// Whether it sends at any instant of the interval, and so hears nothing.
    pub(super) fn sends_between(&self, from: Timestamp, to: Timestamp) -> bool {
        self.sending
            .is_some_and(|(start, end)| start < to && end > from)
    }

    /// The burst as time: how far into the debt it may begin to send.
    fn saved_up(&self) -> Duration {
        let DutyCycle { share, burst } = self.config.duty_cycle;
        if share < 1.0 {
            burst.mul_f64(1.0 / share.max(1e-6))
        } else {
            Duration::ZERO
        }
    }
}

/// kuando-busylight §5: the field holds the radio's quarter decibels.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a signal to noise ratio is a few tens of decibels"
)]
fn quarter_db(snr_db: f32) -> i32 {
    (snr_db * 4.0).round() as i32
}

#[cfg(test)]
mod tests {
    use downbeat_core::id::DevEui;
    use uuid::Uuid;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn lamp(change: impl FnOnce(&mut LampConfig)) -> Lamp {
        let mut config = LampConfig::new(DevEui::from_u64(1));
        change(&mut config);
        let mut lamp = Lamp::new(config, START, 100);
        lamp.join(DevAddr::from_u32(7), START);
        lamp
    }

    fn heard(f_cnt: u32, payload: &[u8]) -> Heard<'_> {
        Heard {
            dev_addr: DevAddr::from_u32(7),
            f_cnt,
            f_port: F_PORT,
            confirmed: false,
            payload,
            queue_item_id: QueueItemId::from_uuid(Uuid::from_u128(u128::from(f_cnt))),
            rssi_dbm: -81,
            snr_db: 8.5,
        }
    }

    fn report(lamp: &mut Lamp) -> Vec<u8> {
        lamp.compose().unwrap().0.payload
    }

    #[test]
    fn reports_are_laid_out_as_published() {
        let mut lamp = lamp(|_| {});
        let untouched = [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50, 255, 0, 58, 12, 1,
        ];
        assert_eq!(report(&mut lamp), untouched);
        lamp.receive(heard(0, &[255, 0, 165, 255, 0]), START);
        let orange = [
            0xaf, 255, 255, 255, 34, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 255, 0, 165, 255, 0, 58, 12,
            1,
        ];
        assert_eq!(report(&mut lamp), orange);
        assert_eq!(
            lamp.truth.shown,
            LightState::steady(Color::rgb(255, 165, 0))
        );
    }

    #[test]
    fn the_short_and_the_long_form_carry_the_reset_reason() {
        let mut short = lamp(|config| config.report = ReportForm::Bytes10);
        assert_eq!(report(&mut short), [0, 0, 0, 0, 0, 0, 50, 255, 0, 1]);
        let mut long = lamp(|config| config.report = ReportForm::Bytes25);
        long.go_dark(START, Cause::Watchdog);
        long.join(DevAddr::from_u32(8), START);
        assert_eq!(report(&mut long).last(), Some(&0x20));
    }

    #[test]
    fn a_counter_seen_before_is_a_replay() {
        let mut lamp = lamp(|_| {});
        lamp.receive(heard(3, &[255, 0, 0, 255, 0]), START);
        lamp.receive(heard(3, &[0, 0, 255, 255, 0]), START);
        assert_eq!(
            (lamp.truth.replays_dropped, lamp.truth.downlinks_received),
            (1, 1)
        );
        assert_eq!(lamp.truth.shown, LightState::steady(Color::rgb(255, 0, 0)));
    }

    #[test]
    fn commands_do_what_the_table_says() {
        let cases: [(&[u8], bool, bool); 7] = [
            (&[0x06, 1], true, false),
            (&[0x04, 15], false, true),
            (&[0x05, 0], true, false),
            (&[0x04, 0], false, false),
            (&[0x77, 1], false, false),
            (&[1, 2, 3], false, false),
            (&[], false, false),
        ];
        for (payload, report, heartbeat_changed) in cases {
            let mut lamp = lamp(|_| {});
            let reaction = lamp.receive(heard(0, payload), START);
            assert_eq!(
                reaction,
                Reaction {
                    report,
                    heartbeat_changed,
                    ..Reaction::default()
                },
                "{payload:x?}"
            );
        }
    }

    #[test]
    fn a_sixth_byte_asks_for_an_uplink() {
        let mut lamp = lamp(|_| {});
        assert!(
            !lamp
                .receive(heard(0, &[0, 0, 255, 255, 0, 0]), START)
                .report
        );
        assert!(
            lamp.receive(heard(1, &[0, 0, 255, 255, 0, 1]), START)
                .report
        );
    }

    #[test]
    fn the_watchdog_counts_uplinks_without_a_downlink() {
        let mut lamp = lamp(|config| config.watchdog = 3);
        assert_eq!(lamp.compose().unwrap().1, None);
        lamp.receive(heard(0, &[0; 5]), START);
        let restarts: Vec<_> = (0..3).map(|_| lamp.compose().unwrap().1).collect();
        assert_eq!(restarts, [None, None, Some(Restart::Watchdog)]);
    }

    #[test]
    fn one_percent_is_a_pause_of_eight_seconds_after_a_report_at_sf7() {
        let mut strict = lamp(|_| {});
        strict.send(24, START);
        let pause = strict.may_send_at(START).since(START);
        assert!((8_000..8_500).contains(&pause.as_millis()), "{pause:?}");
        let mut saved = lamp(|config| config.duty_cycle.burst = Duration::from_millis(200));
        let first_ends = saved.send(24, START);
        assert_eq!(saved.may_send_at(first_ends), first_ends);
        let second_ends = saved.send(24, first_ends);
        let third_ends = saved.send(24, second_ends);
        assert!(saved.may_send_at(third_ends) > third_ends);
    }

    #[test]
    fn a_light_does_not_send_over_itself() {
        let mut free = lamp(|config| config.duty_cycle = DutyCycle::UNLIMITED);
        let ends = free.send(24, START);
        assert!(ends > START);
        assert_eq!(free.may_send_at(START), ends);
    }
}
