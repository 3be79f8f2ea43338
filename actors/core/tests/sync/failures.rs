//! Failures: how they are told, and when it is tried again.

use downbeat_core::sync::{SyncFailure, SyncState};

use super::support::*;

/// Looks fail so many times in a row; tells the pauses.
fn pauses(failures: &[SyncFailure]) -> Vec<f64> {
    let mut story = Story::of_created(&lamp());
    story.at(1.0, wish(2, &lamp()), "look 2");
    let mut second = 1.0;
    (2..)
        .zip(failures)
        .map(|(call, failure)| {
            story.at(second, look_failed(call, failure.clone()), "");
            story.is(SyncState::Failing);
            assert_eq!(story.sync.status().attempts, call - 1);
            let pause = story.next_wake().expect("it is tried again") - second;
            second = story.wakes(&format!("look {}", call + 1));
            pause
        })
        .collect()
}

fn assert_about(pauses: &[f64], expected: &[f64]) {
    assert_eq!(pauses.len(), expected.len());
    for (pause, expected) in pauses.iter().zip(expected) {
        let is_about = (expected * 0.899..=expected * 1.101).contains(pause);
        assert!(is_about, "{pauses:?} are not about {expected:?}");
    }
}

#[test]
fn pauses_double_up_to_five_minutes() {
    let expected = [
        1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0,
    ];
    for failure in [refused("busy"), AnswerLost, Unauthenticated] {
        assert_about(&pauses(&vec![failure; 11]), &expected);
    }
}

#[test]
fn pauses_of_an_outage_stay_short_and_leave_those_after_it_short() {
    let mut failures = vec![Unavailable; 6];
    failures.extend([refused("starting"), refused("starting")]);
    assert_about(
        &pauses(&failures),
        &[1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 8.0, 16.0],
    );
}

#[test]
fn pauses_differ_by_chance() {
    let pauses = pauses(&vec![refused("busy"); 30]);
    let last = &pauses[10..];
    assert!(last.iter().any(|pause| *pause != last[0]), "{last:?}");
}

#[test]
fn the_servers_return_ends_every_pause() {
    let mut story = Story::of_created(&lamp());
    story.at(1.0, wish(2, &lamp()), "look 2");
    for call in 2..12 {
        story.at(f64::from(call), look_failed(call, AnswerLost), "");
        story.at(
            f64::from(call),
            ServerReturned,
            &format!("look {}", call + 1),
        );
    }
    story.is(SyncState::Failing);
    assert_eq!(story.sync.status().next_attempt_at, None);
    story.at(20.0, look_failed(12, AnswerLost), "");
    assert!(story.next_wake().unwrap() < 21.2);
    story.wakes("look 13");
    story.at(22.0, saw(13, remote()), "");
    story.is_done();
    assert_eq!(story.sync.status().attempts, 0);
}

#[test]
fn a_new_wish_ends_every_pause() {
    let mut story = Story::of_created(&lamp());
    story.at(1.0, wish(2, &lamp()), "look 2");
    story.at(1.0, look_failed(2, refused("busy")), "");
    story.at(1.1, Elapsed, "");
    story.at(1.2, wish(3, &lamp()), "look 3");
    story.is(SyncState::Pending);
}

#[test]
fn a_clock_that_was_set_back_prolongs_no_pause() {
    let mut story = Story::of_created(&lamp());
    story.at(1000.0, wish(2, &lamp()), "look 2");
    story.at(1000.0, look_failed(2, refused("busy")), "");
    story.at(10.0, Elapsed, "look 3");
}

#[test]
fn a_key_that_is_not_accepted_is_told() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.0, created(1, Err(Unauthenticated)), "");
    story.is(SyncState::Failing);
    assert!(story.error().contains("API key"));
    assert_eq!(story.sync.status().next_attempt_at, story.sync.next_wake());
    story.wakes("create 2");
}

#[test]
fn an_application_that_is_not_there_is_told_and_tried_again() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.0, created(1, Err(UnknownDevice)), "");
    assert!(story.error().contains("application or device profile"));
    story.wakes("create 2");
}

#[test]
fn long_texts_of_chirpstack_are_cut() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    let text = "so it goes ".repeat(1000);
    story.at(0.0, created(1, Err(refused(&text))), "look 2");
    assert!(serde_json::to_string(&story.sync).unwrap().len() < 2000);
    story.at(0.0, saw_nothing(2), "");
    assert!(story.error().chars().count() <= 300);
    story.wakes("create 3");
    story.at(5.0, created(3, Err(invalid(&text))), "");
    assert!(story.error().chars().count() <= 300);
}
