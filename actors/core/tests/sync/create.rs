//! A device that ChirpStack does not have.

use downbeat_core::id::JoinEui;
use downbeat_core::sync::{SyncState, WantedDevice};

use super::support::*;

#[test]
fn a_device_is_created_with_all_that_is_wanted() {
    let mut story = Story::new();
    assert!(story.sync.is_settled() && !story.sync.is_finished_tombstone());
    story.at(0.0, wish(1, &lamp()), "create 1");
    assert_eq!(story.sent(), remote());
    story.is(SyncState::Pending);
    assert!(!story.sync.is_known_present());
    story.at(0.1, created(1, Ok(())), "");
    story.is_done();
    assert!(story.sync.is_known_present() && !story.sync.is_adopted());
    assert!(!story.sync.is_finished_tombstone());
}

#[test]
fn a_wanted_join_eui_is_written() {
    let mut story = Story::new();
    let join_eui = Some(JoinEui::from_u64(9));
    let wanted = WantedDevice { join_eui, ..lamp() };
    story.at(0.0, wish(1, &wanted), "create 1");
    assert_eq!(story.sent().join_eui, JoinEui::from_u64(9));
}

#[test]
fn wishes_that_are_known_or_older_change_nothing() {
    let mut story = Story::of_created(&lamp());
    story.at(1.0, wish(1, &lamp()), "");
    story.at(1.0, gone(1), "");
    story.at(1.0, gone(0), "");
    story.is_done();
}

#[test]
fn answers_to_other_calls_change_nothing() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.0, created(2, Ok(())), "");
    story.at(0.0, created(0, Err(AnswerLost)), "");
    story.at(0.0, saw_nothing(1), "");
    story.at(0.0, updated(1, Ok(())), "");
    story.at(0.0, deleted(1, Ok(())), "");
    story.at(0.0, key_set(1, Ok(())), "");
    story.is(SyncState::Pending);
    story.at(0.0, created(1, Ok(())), "");
    story.at(0.0, created(1, Err(AnswerLost)), "");
    story.is_done();
}

#[test]
fn a_new_wish_waits_for_the_call_under_way_and_then_wins() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    let renamed = WantedDevice {
        name: "cellar lamp".to_owned(),
        ..lamp()
    };
    story.at(0.1, wish(2, &renamed), "");
    story.at(0.2, created(1, Ok(())), "look 2");
    story.at(0.3, saw(2, remote()), "update 3");
    assert_eq!(story.sent().name, "cellar lamp");
    story.at(0.4, updated(3, Ok(())), "");
    story.is_done();
    assert_eq!(story.sync.synced_generation(), 2);
}

#[test]
fn what_failed_for_an_older_wish_is_no_failure_of_the_newest() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.1, wish(2, &lamp()), "");
    story.at(0.2, created(1, Err(Unavailable)), "create 2");
    story.is(SyncState::Pending);
    story.at(0.3, wish(3, &lamp()), "");
    story.at(0.4, created(2, Err(invalid("name"))), "create 3");
    story.at(0.5, wish(4, &lamp()), "");
    story.at(0.6, created(3, Err(refused("duplicate key"))), "look 4");
    story.is(SyncState::Pending);
}

#[test]
fn a_refusal_that_a_look_explains_is_no_failure() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.1, created(1, Err(refused("duplicate key"))), "look 2");
    story.is(SyncState::Pending);
    story.at(0.2, saw(2, remote()), "");
    story.is_done();
    assert!(!story.sync.is_adopted());
}

#[test]
fn a_refusal_that_no_device_explains_is_shown_and_tried_again() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.0, created(1, Err(refused("Record not found"))), "look 2");
    story.at(0.0, saw_nothing(2), "");
    story.is(SyncState::Failing);
    assert!(story.error().ends_with(": Record not found"));
    assert_eq!(story.sync.status().attempts, 1);
    let first = story.wakes("create 3");
    assert!((0.9..=1.1).contains(&first), "{first}");
    story.at(2.0, created(3, Err(refused("Record not found"))), "look 4");
    story.at(2.0, saw_nothing(4), "");
    assert_eq!(story.sync.status().attempts, 2);
    let second = story.wakes("create 5") - 2.0;
    assert!((1.8..=2.2).contains(&second), "{second}");
}

#[test]
fn an_invalid_device_is_given_up_until_something_else_is_wanted() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.1, created(1, Err(invalid("bad name"))), "");
    story.is(SyncState::Rejected);
    assert!(story.error().ends_with(": bad name"));
    assert!(story.sync.is_settled());
    story.at(0.2, ServerReturned, "");
    story.at(0.3, wish(2, &lamp()), "create 2");
    story.is(SyncState::Pending);
    assert_eq!(story.sync.status().error, None);
}
