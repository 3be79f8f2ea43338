//! Commands under load, and whether what is said of them is true.
//!
//! Lights are made in a simulator (`fleet`), faults caused there (`faults`), colours sent to them through Downbeat's API,
//! their ends followed (`outcomes`), and all of it compared in the end with what each light really showed (`verdict`).

mod faults;
mod fleet;
mod outcomes;
mod simulator;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::faults::FaultArgs;
use self::fleet::{Fleet, FleetPlan};
use self::outcomes::Outcomes;
use self::simulator::{Color, Light, Simulator};
use self::verdict::{Accepted, Verdict, judge};
use super::measure::Measuring;
use super::pace::{Due, Pace};
use super::report::{Figure, Report};
use super::server::{Between, Snapshot};
use super::sse::LiveStream;
use super::target::{LoadError, Target, answered};

/// Commands whose timelines are read and counted, at the most: each is a request.
const TIMELINES: usize = 2_000;

/// Requests at once for them.
const READS: usize = 16;

/// Pause between two looks at what the lights show.
const LOOK: Duration = Duration::from_millis(500);

/// Broken promises that are named one by one.
const NAMED: usize = 20;

/// Options of the load by commands.
#[derive(Debug, Clone, Args)]
pub(super) struct CommandArgs {
    /// The simulator's control API (`downbeat sim --control`).
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    simulator: Url,
    /// Lights to make and to command.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    lights: u64,
    /// One colour for each light, all at once.
    #[arg(long, conflicts_with_all = ["rate", "seconds"])]
    at_once: bool,
    /// Colours a second; without it each light gets its next one when the last has ended.
    #[arg(long)]
    rate: Option<f64>,
    /// For so long.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Commands under way at once at the most [default: as many as lights].
    #[arg(long)]
    concurrency: Option<usize>,
    /// How their ends are heard of.
    #[arg(long, value_enum, default_value = "live")]
    follow: Follow,
    /// A deadline for each command, in seconds, in place of a number of attempts.
    #[arg(long)]
    deadline_s: Option<u32>,
    /// Lights are made in ChirpStack by Downbeat, join, and get their settings; otherwise ChirpStack has them already.
    #[arg(long)]
    join: bool,
    /// Seconds between what lights say by themselves.
    #[arg(long, default_value_t = 1_800, value_parser = clap::value_parser!(u64).range(1..=15_300))]
    heartbeat_s: u64,
    /// Seconds after the last command until all must have ended and all lights show what is wanted.
    #[arg(long, default_value_t = 600)]
    patience_s: u64,
    /// The lights are left registered.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    faults: FaultArgs,
}

/// How the ends of commands are heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Follow {
    /// On the live stream.
    Live,
    /// By asking.
    Poll,
    /// In the answer to the command, which waits for it.
    Answer,
}

/// The run as it goes on.
#[derive(Clone)]
struct Run {
    arguments: Arc<CommandArgs>,
    target: Target,
    outcomes: Outcomes,
}

/// A light that is free, by its number.
type Free = Arc<Mutex<mpsc::UnboundedReceiver<usize>>>;

/// What one sender did.
#[derive(Default)]
struct Sent {
    accepted: Vec<Accepted>,
    /// By light: what it was told last, and when that was accepted.
    wishes: HashMap<String, (Instant, Color)>,
    /// Until the answer that it is accepted.
    answers: Measuring,
    /// Until word of its end.
    ends: Measuring,
    open: u64,
}

/// Makes the run. `progress` hears of each command that ended.
pub(super) async fn run(
    arguments: CommandArgs,
    target: Target,
    progress: impl Fn() + Send + Clone + 'static,
) -> Result<Report, LoadError> {
    let simulator = Simulator::new(arguments.simulator.clone())?;
    let links = arguments.faults.prepare(&simulator).await?;
    let plan = FleetPlan {
        lights: arguments.lights,
        join: arguments.join,
        heartbeat: Duration::from_secs(arguments.heartbeat_s),
    };
    let fleet = Fleet::make(plan, &target, &simulator).await?;
    let run = Run {
        arguments: Arc::new(arguments),
        target: target.clone(),
        outcomes: Outcomes::default(),
    };
    let followers = run.follow().await?;
    let before = Snapshot::of(&target).await;
    let faults = run.arguments.faults.begin(&simulator, links).await?;
    let began = Instant::now();
    let sent = run.send(&fleet, progress).await;
    let took = began.elapsed();
    drop(followers);
    let lights = run.settled(&simulator, &sent.wishes).await?;
    let between = match before {
        Some(before) => before.until_now(&target).await,
        None => None,
    };
    faults.end().await?;
    let downlinks = run.listed(&sent.accepted).await?;
    let verdict = judge(&sent.accepted, &downlinks, &lights);
    let mut report = run.report(sent, verdict, took, between.as_ref());
    if !run.arguments.keep {
        let left = fleet.remove(&target, &simulator).await?;
        if left > 0 {
            let words = format!("{left} lights of the run could not be removed");
            report.discrepancies.push(words);
        }
    }
    Ok(report)
}

impl CommandArgs {
    /// How many commands there will be, where that is known beforehand.
    pub(super) fn count(&self) -> Option<u64> {
        self.pace().count()
    }

    fn pace(&self) -> Pace {
        let duration = Duration::from_secs(self.seconds);
        match self.rate {
            _ if self.at_once => Pace::closed(self.lights),
            Some(rate) => Pace::open(rate, duration),
            None => Pace::closed_for(duration),
        }
    }

    fn senders(&self) -> usize {
        let lights = usize::try_from(self.lights).unwrap_or(usize::MAX);
        self.concurrency.unwrap_or(lights).clamp(1, lights)
    }

    fn in_words(&self) -> String {
        let how = match self.rate {
            _ if self.at_once => "all at once".to_owned(),
            Some(rate) => format!("{rate} a second for {} s", self.seconds),
            None => format!("each as soon as its last one ended, for {} s", self.seconds),
        };
        format!(
            "Commands to {} lights, {how}, {} under way at the most; {:?}",
            self.lights,
            self.senders(),
            self.faults
        )
    }
}

impl Run {
    /// Begins to listen for the ends of commands; dropping what it gives ends that.
    async fn follow(&self) -> Result<JoinSet<()>, LoadError> {
        let mut followers = JoinSet::new();
        let (outcomes, target) = (self.outcomes.clone(), self.target.clone());
        match self.arguments.follow {
            Follow::Live => {
                let live = LiveStream::open(&target).await;
                let live = live.map_err(LoadError::of("following the live stream"))?;
                let prefix = target.dev_eui(0)[..8].to_owned();
                followers.spawn(outcomes.follow(live, target, prefix));
            }
            // Those whose requests ended before they did are asked for.
            Follow::Poll | Follow::Answer => {
                followers.spawn(outcomes.poll(target));
            }
        }
        Ok(followers)
    }

    /// Sends all commands, and waits for their ends.
    async fn send(&self, fleet: &Fleet, progress: impl Fn() + Send + Clone + 'static) -> Sent {
        let (free, lights) = mpsc::unbounded_channel();
        for number in 0..fleet.dev_euis.len() {
            // The receiver is ours.
            let _ = free.send(number);
        }
        let lights: Free = Arc::new(Mutex::new(lights));
        let dev_euis = Arc::new(fleet.dev_euis.clone());
        let (pace, mut senders) = (self.arguments.pace(), JoinSet::new());
        for _ in 0..self.arguments.senders() {
            let (run, pace, dev_euis) = (self.clone(), pace.clone(), Arc::clone(&dev_euis));
            let (lights, free, progress) = (Arc::clone(&lights), free.clone(), progress.clone());
            senders.spawn(async move {
                let mut sent = Sent::default();
                while let Some(due) = pace.next().await {
                    let Some(number) = lights.lock().await.recv().await else {
                        return sent;
                    };
                    run.command(due, &dev_euis[number], &mut sent).await;
                    let _ = free.send(number);
                    progress();
                }
                sent
            });
        }
        let mut all = Sent::default();
        while let Some(sender) = senders.join_next().await {
            match sender {
                Ok(sent) => {
                    all.accepted.extend(sent.accepted);
                    all.answers.add(sent.answers);
                    all.ends.add(sent.ends);
                    all.open += sent.open;
                    for (light, wish) in sent.wishes {
                        let last = all.wishes.entry(light).or_insert(wish);
                        *last = if last.0 < wish.0 { wish } else { *last };
                    }
                }
                Err(error) => all.answers.note_error(error.to_string()),
            }
        }
        all
    }

    /// One colour: until it is accepted, and until it ended or patience did.
    async fn command(&self, due: Due, dev_eui: &str, sent: &mut Sent) {
        // Nobody's colour is black, or that of a light that has just joined.
        let color = Color::of(due.number + 0x01_0001);
        let mut body = json!({"red": color.red, "green": color.green, "blue": color.blue});
        if let Some(seconds) = self.arguments.deadline_s {
            body["deadline_s"] = seconds.into();
        }
        let wait = if self.arguments.follow == Follow::Answer {
            120
        } else {
            0
        };
        let path = format!("/api/v1/downlink/{dev_eui}?wait={wait}");
        let request = self.target.call(Method::POST, &path).json(&body);
        let answer = match answered(request, StatusCode::ACCEPTED).await {
            Ok(answer) => answer,
            Err(error) => return sent.answers.note_error(error),
        };
        sent.answers.note(due.at.elapsed());
        let id = answer["id"].as_str().unwrap_or_default().to_owned();
        sent.wishes
            .insert(dev_eui.to_owned(), (Instant::now(), color));
        sent.accepted.push(Accepted {
            id: id.clone(),
            dev_eui: dev_eui.to_owned(),
            color,
        });
        let ended_at = if answer["finished_at"].is_string() {
            Some(Instant::now())
        } else {
            let patience = Duration::from_secs(self.arguments.patience_s);
            let end = tokio::time::timeout(patience, self.outcomes.end_of(&id)).await;
            end.ok().flatten()
        };
        match ended_at {
            Some(at) => sent.ends.note(at.saturating_duration_since(due.at)),
            None => sent.open += 1,
        }
    }

    /// Waits until each light shows what it was last told, for as long as there is patience, and gives them as they are.
    async fn settled(
        &self,
        simulator: &Simulator,
        wishes: &HashMap<String, (Instant, Color)>,
    ) -> Result<Vec<Light>, LoadError> {
        let deadline = Instant::now() + Duration::from_secs(self.arguments.patience_s);
        let prefix = self.target.dev_eui(0)[..8].to_owned();
        loop {
            let lights = simulator.lights(&prefix).await?;
            let shows = |light: &Light| {
                let wish = wishes.get(&light.dev_eui);
                wish.is_none_or(|(_, color)| *color == light.shown.color)
            };
            if lights.iter().all(shows) || Instant::now() > deadline {
                return Ok(lights);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// All that the server lists of the run, with the timelines of the first ones.
    async fn listed(&self, accepted: &[Accepted]) -> Result<Vec<Value>, LoadError> {
        let mut all = self.target.all("/api/v1/downlinks", "downlinks").await?;
        let prefix = &self.target.dev_eui(0)[..8];
        all.retain(|it| {
            let dev_eui = it["dev_eui"].as_str().unwrap_or_default();
            dev_eui.starts_with(prefix) && it["origin"] == "api"
        });
        let read = |command: &Accepted| {
            let path = format!("/api/v1/downlinks/{}", command.id);
            let request = self.target.call(Method::GET, &path);
            async move {
                let whole = answered(request, StatusCode::OK).await;
                whole.map_err(LoadError::of(format!("reading {path}")))
            }
        };
        let whole = stream::iter(accepted.iter().take(TIMELINES)).map(read);
        let whole: Vec<Value> = whole.buffer_unordered(READS).try_collect().await?;
        let mut timelines: HashMap<String, Value> = whole
            .into_iter()
            .filter_map(|it| Some((it["id"].as_str()?.to_owned(), it)))
            .collect();
        for downlink in &mut all {
            let id = downlink["id"].as_str().unwrap_or_default();
            if let Some(whole) = timelines.remove(id) {
                *downlink = whole;
            }
        }
        Ok(all)
    }

    fn report(
        &self,
        sent: Sent,
        verdict: Verdict,
        took: Duration,
        between: Option<&Between>,
    ) -> Report {
        let count = sent.accepted.len();
        let mut figures = figures(&verdict, count, self.arguments.faults.last_return());
        if let Some(between) = between {
            let (before, after) = (
                "downbeat_downlink_handover_seconds",
                "downbeat_downlink_settle_seconds",
            );
            figures.extend(between.quantiles(before, "own time, accepted to Enqueue"));
            figures.extend(between.quantiles(after, "own time, webhook to committed end"));
            for (name, what) in [(before, "to Enqueue"), (after, "to the end")] {
                let value = between.recorded(name);
                figures.push(Figure::new(format!("own times measured {what}"), value, ""));
            }
            figures.extend(between.usage());
        }
        let mut discrepancies: Vec<String> = verdict.broken.iter().take(NAMED).cloned().collect();
        if verdict.broken.len() > NAMED {
            discrepancies.push(format!("and {} more", verdict.broken.len() - NAMED));
        }
        if sent.open > 0 {
            discrepancies.push(format!("{} had no end within patience", sent.open));
        }
        Report {
            what: self.arguments.in_words(),
            measurements: vec![
                sent.answers.finish("answered", took),
                sent.ends.finish("heard of its end", took),
                verdict.shown.finish("accepted to shown", took),
                verdict.verified.finish("accepted to verified", took),
            ],
            figures,
            discrepancies,
        }
    }
}

fn figures(verdict: &Verdict, accepted: usize, returned: Option<Duration>) -> Vec<Figure> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "commands of a run are far below 2^52"
    )]
    let (count, number) = (|it: u64| it as f64, accepted as f64);
    let percent = |it: u64| 100.0 * count(it) / number.max(1.0);
    let mut figures = vec![Figure::new("accepted", number, "")];
    for (state, times) in &verdict.states {
        figures.push(Figure::new(format!("ended {state}"), count(*times), ""));
    }
    let verified = verdict.states.get("verified").copied().unwrap_or(0);
    let attempts = count(verdict.attempts) / count(verdict.tried).max(1.0);
    figures.extend([
        Figure::new("verified", percent(verified), "%"),
        Figure::new(
            "verified at the first attempt",
            percent(verdict.at_first),
            "%",
        ),
        Figure::new(
            "verified before the deadline",
            percent(verdict.in_time),
            "%",
        ),
        Figure::new("attempts, mean", attempts, ""),
    ]);
    if let Some(first) = verdict.first_accepted {
        for (last, what) in [
            (verdict.last_shown, "last shown after"),
            (verdict.last_verified, "last verified after"),
        ] {
            if let Some(last) = last {
                let since = last.since(first);
                figures.push(Figure::new(what, since.as_secs_f64(), "s"));
                if let Some(returned) = returned {
                    let since = since.saturating_sub(returned);
                    let what = format!("{what} the gateways' return");
                    figures.push(Figure::new(what, since.as_secs_f64(), "s"));
                }
            }
        }
    }
    figures
}
