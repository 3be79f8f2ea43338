//! What `/metrics` shows is what `docs/metrics.md` says, name by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use downbeat_actors::observe::{Feed, FeedBody, FeedEvent};
use downbeat_core::device::{
    Downlink, DownlinkState, Evidence, LastTransmission, Reason, Record, Step, TimelineEntry,
};
use downbeat_core::id::{DevEui, GatewayId, QueueItemId};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::{COUNTED_EVERY, count_samples, process, recorder};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of Rust below.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
}

/// The quoted text that follows each of these words, and the rest of its statement.
fn quoted_after(text: &str, word: &str) -> Vec<(String, String)> {
    text.match_indices(word)
        .filter_map(|(at, _)| {
            let rest = text[at + word.len()..].trim_start().strip_prefix('"')?;
            let (name, rest) = rest.split_once('"')?;
            let statement = rest.split(';').next()?;
            Some((name.to_owned(), statement.to_owned()))
        })
        .collect()
}

/// Kind, name and labels of all that the code measures.
fn measured() -> BTreeSet<(String, String)> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("actors/src"), &mut files);
    let mut measured = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for kind in ["counter", "gauge", "histogram"] {
            for (name, statement) in quoted_after(&text, &format!("metrics::{kind}!(")) {
                for label in ["dev_eui", "downlink_id", "device_id"] {
                    assert!(
                        !statement.contains(&format!("\"{label}\"")),
                        "{name} {file:?}"
                    );
                }
                measured.insert((name, kind.to_owned()));
            }
        }
    }
    measured
}

#[test]
fn every_metric_is_documented_with_its_kind_and_every_documented_one_is_there() {
    let text = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let documented: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
            let name = cells.next()?.trim_end_matches('`').to_owned();
            Some((name, cells.next()?.to_owned()))
        })
        .collect();
    let measured = measured();
    assert!(measured.len() > 20, "{measured:?}");
    let missing: Vec<_> = measured.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    let gone: Vec<_> = documented.difference(&measured).collect();
    assert!(gone.is_empty(), "in docs/metrics.md alone: {gone:?}");
}

#[test]
fn the_life_of_a_downlink_is_counted_step_by_step() {
    let mut life = Life::begin();
    let recorder = recorder().unwrap();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        life.step(0, DownlinkState::Accepted, Step::Accepted);
        let reason = Reason::NoGateway;
        life.step(
            5,
            DownlinkState::Waiting,
            Step::Waiting {
                reason,
                until: None,
            },
        );
        life.enqueue(30, 1);
        let reason = Reason::NotConfirmed;
        life.step(
            900,
            DownlinkState::Transmitted,
            Step::AttemptFailed { reason },
        );
        life.enqueue(1_000, 2);
        life.downlink.transmission = Some(LastTransmission {
            at: at(2_000),
            gateway_id: Some(GatewayId::from_u64(1)),
            spreading_factor: Some(9),
        });
        let reason = Some(Reason::NotConfirmed);
        life.end(
            30_000,
            DownlinkState::Unverified,
            Step::Ended {
                state: DownlinkState::Unverified,
                reason,
            },
        );
        life.end(
            40_000,
            DownlinkState::Verified,
            Step::Verified {
                evidence: proof(),
                late: true,
            },
        );

        // Another one meets nothing on its way.
        life = Life::begin();
        life.step(0, DownlinkState::Accepted, Step::Accepted);
        life.enqueue(4, 1);
        life.downlink.transmission = Some(LastTransmission {
            at: at(1_000),
            gateway_id: None,
            spreading_factor: None,
        });
        life.end(
            2_500,
            DownlinkState::Verified,
            Step::Verified {
                evidence: proof(),
                late: false,
            },
        );
    });
    let shown = handle.render();
    for line in [
        r#"downbeat_downlink_steps_total{step="accepted"} 2"#,
        r#"downbeat_downlink_waits_total{reason="no_gateway"} 1"#,
        r#"downbeat_downlink_misses_total{reason="not_confirmed"} 1"#,
        r#"downbeat_downlinks_finished_total{state="unverified",reason="not_confirmed"} 1"#,
        r#"downbeat_downlinks_finished_total{state="verified",reason="late"} 1"#,
        r#"downbeat_downlinks_finished_total{state="verified",reason="none"} 1"#,
        r#"downbeat_downlink_attempts_bucket{state="verified",le="1"} 1"#,
        r#"downbeat_downlink_attempts_bucket{state="verified",le="2"} 2"#,
        // Each is enqueued for the first time once.
        r#"downbeat_downlink_enqueue_seconds_count{waited="yes"} 1"#,
        r#"downbeat_downlink_enqueue_seconds_bucket{waited="no",le="0.005"} 1"#,
        // A late proof says nothing of how long the device takes.
        "downbeat_downlink_answer_seconds_count 1",
        "downbeat_downlink_answer_seconds_sum 1.5",
        r#"downbeat_downlink_seconds_sum{state="verified"} 42.5"#,
    ] {
        assert!(shown.lines().any(|it| it == line), "{line}\n{shown}");
    }
}

#[test]
fn mailboxes_are_measured_by_kind_of_actor() {
    let recorder = recorder().unwrap();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, downbeat_actors::mailbox::measure);
    let shown = handle.render();
    for name in ["messages_total", "waiting"] {
        let device = format!("downbeat_mailbox_{name}{{actor=\"device\"}} ");
        assert!(shown.lines().any(|it| it.starts_with(&device)), "{shown}");
    }
}

/// Memory is the whole process's, so the test has one for itself.
#[test]
fn what_histograms_are_told_is_let_go() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "telemetry::tests::a_minute_of_values",
            "--ignored",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
}

/// Twelve times as many values as are counted at once: kept, they would take 80 MB.
#[tokio::test(start_paused = true)]
#[ignore = "is run in a process of its own"]
async fn a_minute_of_values() {
    let recorder = recorder().unwrap();
    tokio::spawn(count_samples(recorder.handle()));
    let histogram = metrics::with_local_recorder(&recorder, || {
        metrics::histogram!("downbeat_webhook_seconds")
    });
    let mut after_a_while = 0.0;
    for round in 0..13 {
        for _ in 0..400_000 {
            histogram.record(0.004);
        }
        tokio::time::sleep(COUNTED_EVERY).await;
        if round == 0 {
            after_a_while = memory();
        }
    }
    let grown = memory() - after_a_while;
    assert!(grown < 4e6, "{grown} bytes more");
}

fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    process::resident_bytes(&status).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn proof() -> Evidence {
    Evidence::Transmitted {
        gateway_id: None,
        f_cnt_down: 1,
    }
}

/// A downlink that takes one step after the other.
struct Life {
    downlink: Downlink,
    feed: Feed,
}

impl Life {
    fn begin() -> Self {
        let downlink = crate::store::conformance::downlink(at(0));
        Self {
            downlink,
            feed: Feed::new(1),
        }
    }

    fn enqueue(&mut self, millis: i64, attempt: u8) {
        self.downlink.attempts = attempt;
        self.downlink.enqueued_at = self.downlink.enqueued_at.or(Some(at(millis)));
        let step = Step::Enqueued {
            queue_id: QueueItemId::from_uuid(Uuid::nil()),
            expires_at: at(1_000_000),
        };
        self.step(millis, DownlinkState::Enqueued, step);
    }

    fn end(&mut self, millis: i64, state: DownlinkState, step: Step) {
        self.downlink.finished_at = Some(at(millis));
        self.step(millis, state, step);
    }

    fn step(&mut self, millis: i64, state: DownlinkState, step: Step) {
        self.downlink.state = state;
        let entry = TimelineEntry {
            seq: self.downlink.steps,
            at: at(millis),
            attempt: self.downlink.attempts,
            step,
        };
        self.downlink.steps += 1;
        let record = Record {
            downlink: self.downlink.clone(),
            entry,
        };
        self.feed.publish(FeedEvent {
            at: at(millis),
            tenant_id: None,
            body: FeedBody::Downlink(Box::new(record), DevEui::from_u64(1)),
        });
    }
}
