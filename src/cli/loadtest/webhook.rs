//! Webhooks under load: uplinks are posted, each committed before it is answered, and counted afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::Url;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::measure::Measuring;
use super::pace::Pace;
use super::report::{Figure, Report};
use super::server::Snapshot;
use super::target::{LoadError, Target};
use super::uplink::{Encoding, Posting, Received, Uplinks, register_devices, remove_devices};

/// What the server counts of them.
const STORED: &str = "downbeat_webhooks_total{event=\"up\",outcome=\"stored\"}";

/// Devices whose histories are read and counted afterwards.
const CHECKED: usize = 20;

/// What is held is stored within this, or counts as lost.
const HELD_MAX: Duration = Duration::from_secs(30);

/// Pause before a history that is not complete is read again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What to do to which Downbeat.
#[derive(Debug, Clone)]
pub(super) struct WebhookLoad {
    pub(super) target: Target,
    /// Posts under way at once at the most.
    pub(super) connections: usize,
    /// Devices that speak in turn.
    pub(super) devices: u64,
    pub(super) encoding: Encoding,
    /// Posts a second; `None`: each caller posts as soon as it was answered.
    pub(super) rate: Option<f64>,
    pub(super) duration: Duration,
    /// So long before that, posts are checked and their times left out: callers connect, and each device is met anew.
    pub(super) warm_up: Duration,
    /// A server that does nothing, to which the same is posted first, as fast as it is answered.
    pub(super) beside: Option<Url>,
    /// More is posted than can be borne: refusals with a time to come again are no errors.
    pub(super) overload: bool,
    /// The devices are left registered.
    pub(super) keep: bool,
}

/// One caller's tally.
#[derive(Default)]
struct Tally {
    times: Measuring,
    /// Posts that were refused, with a time to come again.
    refused: Measuring,
    /// Posts that were not stored in time, and will be.
    held: Measuring,
    /// Posts that were stored, by the device's number.
    stored: BTreeMap<usize, u64>,
    /// Those that will be.
    to_come: BTreeMap<usize, u64>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.times.add(other.times);
        self.refused.add(other.refused);
        self.held.add(other.held);
        for (all, others) in [
            (&mut self.stored, other.stored),
            (&mut self.to_come, other.to_come),
        ] {
            for (number, count) in others {
                *all.entry(number).or_default() += count;
            }
        }
    }
}

impl WebhookLoad {
    /// Makes the run. `progress` hears of each post that is answered.
    pub(super) async fn run(
        &self,
        progress: impl Fn() + Send + Clone + 'static,
    ) -> Result<Report, LoadError> {
        let devices = Arc::new(register_devices(&self.target, self.devices).await?);
        let ceiling = match &self.beside {
            None => None,
            Some(url) => {
                let pace = self.pace(None);
                let began = Instant::now();
                let posting = || Posting::elsewhere(&self.target, url, self.encoding);
                let tally = self.post(&devices, &pace, posting, || {}).await;
                let took = began.elapsed().saturating_sub(self.warm_up);
                Some(tally.times.finish("bare server", took))
            }
        };
        let before = Snapshot::of(&self.target).await;
        let pace = self.pace(self.rate);
        let began = Instant::now();
        let posting = || Posting::of(&self.target, self.encoding);
        let tally = self.post(&devices, &pace, posting, progress).await;
        let took = began.elapsed().saturating_sub(self.warm_up);
        let Tally {
            mut times,
            refused,
            held,
            stored,
            to_come,
        } = tally;
        let mut report = Report {
            what: self.in_words(),
            ..Report::default()
        };
        if !self.overload && refused.count() > 0 {
            times.note_errors(refused.count(), "503, come again".to_owned());
        }
        if !self.overload && held.count() > 0 {
            times.note_errors(held.count(), "503, held".to_owned());
        }
        let webhook = times.finish("webhook", took);
        if let Some(ceiling) = &ceiling {
            let ratio = webhook.per_second / ceiling.per_second.max(1e-9);
            let figure = Figure::new("webhooks for each answer of a bare server", ratio, "");
            report.figures.push(figure);
        }
        report.measurements.push(webhook);
        report.measurements.extend(ceiling);
        if self.overload {
            report.measurements.push(held.finish("held", took));
            report.measurements.push(refused.finish("refused", took));
        }
        let all: u64 = stored.values().sum();
        if let Some(before) = before
            && let Some(between) = before.until_now(&self.target).await
        {
            report.figures.extend(between.usage());
            let counted = between.grown(STORED);
            report
                .figures
                .push(Figure::new("stored, as the server counts", counted, ""));
            #[expect(
                clippy::cast_precision_loss,
                reason = "posts of a run are far below 2^52"
            )]
            let answered = all as f64;
            if (counted - answered).abs() > 0.5 {
                let words =
                    format!("{all} posts were answered as stored, the server counts {counted}");
                report.discrepancies.push(words);
            }
        }
        let until = Instant::now() + HELD_MAX;
        for (number, (dev_eui, id)) in devices.iter().enumerate().take(CHECKED) {
            let posted = stored.get(&number).copied().unwrap_or(0);
            let to_come = to_come.get(&number).copied().unwrap_or(0);
            let kept = self.kept(id, posted + to_come, until).await?;
            if kept != posted + to_come {
                let words = format!(
                    "{posted} of {dev_eui} were answered as stored and {to_come} as held, {kept} are kept"
                );
                report.discrepancies.push(words);
            }
        }
        if !self.keep {
            let left = remove_devices(&self.target, devices.iter().map(|(_, id)| id)).await;
            if left > 0 {
                let words = format!("{left} devices of the run could not be removed");
                report.discrepancies.push(words);
            }
        }
        Ok(report)
    }

    /// A device's uplinks, when there are as many as expected: those that are held come in their time.
    async fn kept(&self, id: &str, expected: u64, until: Instant) -> Result<u64, LoadError> {
        let tenant = self.target.tenant();
        let path = format!("/api/v1/tenants/{tenant}/devices/{id}/uplinks");
        loop {
            let kept = self.target.all(&path, "uplinks").await?.len() as u64;
            if kept >= expected || Instant::now() > until {
                return Ok(kept);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How many posts there will be, where that is known beforehand.
    pub(super) fn count(&self) -> Option<u64> {
        self.pace(self.rate).count()
    }

    fn pace(&self, rate: Option<f64>) -> Pace {
        let duration = self.warm_up + self.duration;
        let pace = match rate {
            Some(rate) => Pace::open(rate, duration),
            None => Pace::closed_for(duration),
        };
        pace.warming_up(self.warm_up)
    }

    async fn post(
        &self,
        devices: &Arc<Vec<(String, String)>>,
        pace: &Pace,
        posting: impl Fn() -> Posting,
        progress: impl Fn() + Send + Clone + 'static,
    ) -> Tally {
        let counters: Arc<Vec<AtomicU32>> =
            Arc::new(devices.iter().map(|_| AtomicU32::new(0)).collect());
        let mut callers = JoinSet::new();
        for _ in 0..self.connections {
            let (pace, devices) = (pace.clone(), Arc::clone(devices));
            let (counters, progress) = (Arc::clone(&counters), progress.clone());
            let (uplinks, mut posting) = (Uplinks::new(self.encoding), posting());
            let overload = self.overload;
            callers.spawn(async move {
                let mut tally = Tally::default();
                while let Some(due) = pace.next().await {
                    let number = usize::try_from(due.number).unwrap_or(0) % devices.len();
                    let f_cnt = counters[number].fetch_add(1, Ordering::Relaxed);
                    let body = uplinks.body(&devices[number].0, f_cnt);
                    match posting.post(body).await {
                        Ok(Received::Stored) => {
                            if !due.is_warm_up {
                                tally.times.note(due.at.elapsed());
                            }
                            *tally.stored.entry(number).or_default() += 1;
                        }
                        Ok(Received::Held) => {
                            tally.held.note(due.at.elapsed());
                            *tally.to_come.entry(number).or_default() += 1;
                        }
                        // Where none may be refused, one of the warm-up may not either.
                        Ok(Received::ComeAgain) if due.is_warm_up && overload => {}
                        Ok(Received::ComeAgain) => tally.refused.note(due.at.elapsed()),
                        Err(error) => tally.times.note_error(error),
                    }
                    progress();
                }
                tally
            });
        }
        let mut all = Tally::default();
        while let Some(caller) = callers.join_next().await {
            match caller {
                Ok(tally) => all.add(tally),
                Err(error) => all.times.note_error(error.to_string()),
            }
        }
        all
    }

    fn in_words(&self) -> String {
        let pace = match self.rate {
            Some(rate) => format!("{rate} a second"),
            None => "as fast as they are answered".to_owned(),
        };
        let (devices, connections) = (self.devices, self.connections);
        let warm_up = match self.warm_up.as_secs() {
            0 => String::new(),
            seconds => format!(", after {seconds} s of warm-up"),
        };
        format!(
            "Webhooks ({:?}) of {devices} devices, {pace}, {connections} at once at the most{warm_up}",
            self.encoding
        )
    }
}
