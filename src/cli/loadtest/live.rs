//! The live stream under load: many subscribers, and what each of them got when.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::measure::Measuring;
use super::pace::Pace;
use super::report::{Figure, Report};
use super::server::{Between, Snapshot};
use super::sse::LiveStream;
use super::target::{LoadError, Target};
use super::uplink::{Encoding, Posting, Received, Uplinks, register_devices, remove_devices};

/// After the last uplink is answered, its event may take this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Posts under way at once at the most.
const POSTS: usize = 32;

/// Subscriptions that are opened at once.
const OPENED: usize = 32;

/// What to do to which Downbeat.
#[derive(Debug, Clone)]
pub(super) struct LiveLoad {
    pub(super) target: Target,
    pub(super) subscribers: usize,
    /// Events a second.
    pub(super) rate: f64,
    pub(super) duration: Duration,
    pub(super) devices: u64,
    pub(super) keep: bool,
}

/// When each uplink was due, by its number: shared by who posts and who listens.
type Posted = Arc<Mutex<Vec<Option<Instant>>>>;

/// The parts of a `device` event that matter here.
#[derive(Deserialize)]
struct Told<'a> {
    lorawan_dev_eui: &'a str,
    reported: Option<Reported>,
}

#[derive(Deserialize)]
struct Reported {
    red: u8,
    green: u8,
    blue: u8,
}

impl Reported {
    /// Which uplink told it.
    fn number(&self) -> usize {
        let bytes = [0, self.red, self.green, self.blue];
        usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX)
    }
}

/// What one subscriber got.
#[derive(Default)]
struct Got {
    times: Measuring,
    seen: Vec<bool>,
    events: u64,
    doubles: u64,
    resumed: u64,
    resets: u64,
}

impl LiveLoad {
    /// Makes the run. `progress` hears of each uplink that is answered.
    pub(super) async fn run(
        &self,
        progress: impl Fn() + Send + Clone + 'static,
    ) -> Result<Report, LoadError> {
        let devices = Arc::new(register_devices(&self.target, self.devices).await?);
        let pace = Pace::open(self.rate, self.duration);
        let count = usize::try_from(pace.count().unwrap_or(0)).unwrap_or(usize::MAX);
        let posted: Posted = Arc::new(Mutex::new(vec![None; count]));
        let (over, mut subscribers) = (CancellationToken::new(), JoinSet::new());
        for stream in self.subscribe().await? {
            let (posted, over) = (Arc::clone(&posted), over.clone());
            let prefix = self.target.dev_eui(0)[..8].to_owned();
            subscribers.spawn(listen(stream, prefix, posted, over));
        }
        let before = Snapshot::of(&self.target).await;
        let (pace, began) = (Pace::open(self.rate, self.duration), Instant::now());
        let answers = self.post(&pace, &devices, &posted, progress).await;
        let took = began.elapsed();
        let between = match before {
            Some(before) => before.until_now(&self.target).await,
            None => None,
        };
        // Those that have all end by themselves.
        let stop = over.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            stop.cancel();
        });
        let mut all = Got::default();
        let (mut gaps, stored) = (0_usize, answers.count());
        while let Some(got) = subscribers.join_next().await {
            let got = got.map_err(|error| LoadError::of("a subscriber")(error.to_string()))?;
            let seen = got.seen.iter().filter(|seen| **seen).count();
            gaps += usize::try_from(stored)
                .unwrap_or(usize::MAX)
                .saturating_sub(seen);
            all.times.add(got.times);
            all.events += got.events;
            all.doubles += got.doubles;
            all.resumed += got.resumed;
            all.resets += got.resets;
        }
        let mut report = Report {
            what: format!(
                "Live stream, {} subscribers, {} events a second; times from the uplink's planned post to its event",
                self.subscribers, self.rate
            ),
            measurements: vec![
                answers.finish("uplink", took),
                all.times.finish("event", took),
            ],
            ..Report::default()
        };
        for (name, value) in [
            ("events received", all.events),
            ("missed", gaps as u64),
            ("received twice", all.doubles),
            ("streams opened anew", all.resumed),
            ("resets", all.resets),
        ] {
            #[expect(
                clippy::cast_precision_loss,
                reason = "events of a run are far below 2^52"
            )]
            report.figures.push(Figure::new(name, value as f64, ""));
        }
        report
            .figures
            .extend(between.iter().flat_map(Between::usage));
        if gaps > 0 || all.doubles > 0 {
            let words = format!("{gaps} events were missed and {} came twice", all.doubles);
            report.discrepancies.push(words);
        }
        if !self.keep {
            remove_devices(&self.target, devices.iter().map(|(_, id)| id)).await;
        }
        Ok(report)
    }

    async fn subscribe(&self) -> Result<Vec<LiveStream>, LoadError> {
        use futures_util::{StreamExt as _, TryStreamExt as _, stream};
        let open = |_| LiveStream::open(&self.target);
        let opened = stream::iter(0..self.subscribers)
            .map(open)
            .buffer_unordered(OPENED);
        let opened: Result<Vec<LiveStream>, String> = opened.try_collect().await;
        opened.map_err(LoadError::of("subscribing to the live stream"))
    }

    /// Posts the uplinks. Each device's are in order: there is a caller for every so many devices.
    async fn post(
        &self,
        pace: &Pace,
        devices: &Arc<Vec<(String, String)>>,
        posted: &Posted,
        progress: impl Fn() + Send + Clone + 'static,
    ) -> Measuring {
        let mut callers = JoinSet::new();
        for _ in 0..POSTS {
            let (pace, devices) = (pace.clone(), Arc::clone(devices));
            let (posted, progress) = (Arc::clone(posted), progress.clone());
            let uplinks = Uplinks::new(Encoding::Json);
            let mut posting = Posting::of(&self.target, Encoding::Json);
            callers.spawn(async move {
                let mut times = Measuring::default();
                while let Some(due) = pace.next().await {
                    let number = usize::try_from(due.number).unwrap_or(usize::MAX);
                    let f_cnt = u32::try_from(due.number).unwrap_or(u32::MAX);
                    note(&posted, number, due.at);
                    let (dev_eui, _) = &devices[number % devices.len()];
                    match posting.post(uplinks.body(dev_eui, f_cnt)).await {
                        Ok(Received::Stored) => times.note(due.at.elapsed()),
                        Ok(Received::Held) => times.note_error("503, held".to_owned()),
                        Ok(Received::ComeAgain) => times.note_error("503, come again".to_owned()),
                        Err(error) => times.note_error(error),
                    }
                    progress();
                }
                times
            });
        }
        let mut times = Measuring::default();
        while let Some(caller) = callers.join_next().await {
            match caller {
                Ok(of_caller) => times.add(of_caller),
                Err(error) => times.note_error(error.to_string()),
            }
        }
        times
    }
}

fn note(posted: &Posted, number: usize, at: Instant) {
    let mut all = posted.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = all.get_mut(number) {
        *place = Some(at);
    }
}

fn posted_at(posted: &Posted, number: usize) -> Option<Instant> {
    let all = posted.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(number).copied().flatten()
}

/// Notes what comes until all has come, or it is over.
async fn listen(
    mut stream: LiveStream,
    prefix: String,
    posted: Posted,
    over: CancellationToken,
) -> Got {
    let count = posted.lock().unwrap_or_else(PoisonError::into_inner).len();
    let mut got = Got {
        seen: vec![false; count],
        ..Got::default()
    };
    let mut missing = count;
    while missing > 0 {
        let event = tokio::select! {
            event = stream.next() => event,
            () = over.cancelled() => break,
        };
        got.events += 1;
        got.resets += u64::from(event.name == "reset");
        if event.name != "device" {
            continue;
        }
        let Ok(told) = serde_json::from_str::<Told<'_>>(&event.data) else {
            continue;
        };
        let Some(reported) = told
            .reported
            .filter(|_| told.lorawan_dev_eui.starts_with(&prefix))
        else {
            continue;
        };
        let number = reported.number();
        let Some(at) = posted_at(&posted, number) else {
            continue;
        };
        if std::mem::replace(&mut got.seen[number], true) {
            got.doubles += 1;
        } else {
            got.times.note(at.elapsed());
            missing -= 1;
        }
    }
    got.resumed = stream.resumed;
    got
}
