//! The key is a step of its own, after the device.

use downbeat_core::sync::{SyncState, WantedDevice};

use super::support::*;

fn with_key(revision: u32) -> WantedDevice {
    WantedDevice {
        app_key_revision: Some(revision),
        ..lamp()
    }
}

/// The lamp was created with key 3.
fn story() -> Story {
    let mut story = Story::new();
    story.at(0.0, wish(1, &with_key(3)), "create 1");
    story.at(0.0, created(1, Ok(())), "key 3 as 2");
    story.is(SyncState::Pending);
    assert_eq!(story.sync.synced_generation(), 0);
    story.at(0.0, key_set(2, Ok(())), "");
    story.is_done();
    story
}

#[test]
fn a_key_is_written_once() {
    let mut story = story();
    story.at(1.0, wish(2, &with_key(3)), "look 3");
    story.at(1.0, saw(3, remote()), "");
    story.is_done();
}

#[test]
fn a_key_that_changed_is_written_without_an_update() {
    let mut story = story();
    story.at(1.0, wish(2, &with_key(4)), "look 3");
    story.at(1.0, saw(3, remote()), "key 4 as 4");
    story.at(1.0, key_set(4, Ok(())), "");
    story.is_done();
}

#[test]
fn a_key_that_is_no_longer_wanted_stays() {
    let mut story = story();
    story.at(1.0, wish(2, &lamp()), "look 3");
    story.at(1.0, saw(3, remote()), "");
    story.is_done();
}

#[test]
fn an_adopted_device_and_one_created_again_get_the_key() {
    let mut story = story();
    story.at(1.0, wish(2, &with_key(3)), "look 3");
    story.at(1.0, saw(3, unclaimed()), "update 4");
    story.at(1.0, updated(4, Ok(())), "key 3 as 5");
    story.at(1.0, key_set(5, Ok(())), "");
    story.is_done();
    story.at(2.0, wish(3, &with_key(3)), "look 6");
    story.at(2.0, saw_nothing(6), "create 7");
    story.at(2.0, created(7, Ok(())), "key 3 as 8");
}

#[test]
fn the_same_revision_of_another_registration_is_another_key() {
    let mut story = story();
    let again = WantedDevice {
        device_id: LATER_LAMP,
        ..with_key(3)
    };
    story.at(1.0, wish(2, &again), "look 3");
    story.at(1.0, saw(3, remote()), "update 4");
    story.at(1.0, updated(4, Ok(())), "key 3 as 5");
}

#[test]
fn a_key_is_tried_again_only_where_the_device_is_still_ours() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &with_key(3)), "create 1");
    story.at(0.0, created(1, Ok(())), "key 3 as 2");
    story.at(0.0, key_set(2, Err(refused("try later"))), "");
    story.is(SyncState::Failing);
    story.wakes("look 3");
    story.at(2.0, saw(3, remote()), "key 3 as 4");
    story.at(2.0, key_set(4, Err(UnknownDevice)), "");
    story.wakes("look 5");
    story.at(5.0, saw_nothing(5), "create 6");
}

#[test]
fn a_key_whose_answer_was_lost_has_its_time_and_is_then_written_again() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &with_key(3)), "create 1");
    story.at(0.0, created(1, Ok(())), "key 3 as 2");
    story.at(1.0, wish(2, &with_key(4)), "");
    story.at(3.0, key_set(2, Err(AnswerLost)), "");
    assert_eq!(story.wakes("look 3"), 8.0);
    story.at(8.0, saw(3, remote()), "key 4 as 4");
    story.at(8.0, key_set(4, Ok(())), "");
    story.is_done();
}

#[test]
fn after_a_restart_a_key_is_written_only_to_a_device_that_is_still_ours() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &with_key(3)), "create 1");
    story.at(0.0, created(1, Ok(())), "key 3 as 2");
    story.restarts(1.0, "");
    assert_eq!(story.wakes("look 3"), 6.0);
    let mut there = unclaimed();
    there.application_id = CELLAR;
    story.at(6.0, saw(3, there), "");
    story.is(SyncState::Conflict);
}

#[test]
fn a_forced_wish_writes_the_key_again() {
    let mut story = story();
    story.at(1.0, forced(2, &with_key(3)), "look 3");
    story.at(1.0, saw(3, remote()), "key 3 as 4");
}

#[test]
fn a_key_that_is_invalid_is_given_up_and_not_repeated_in_words() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &with_key(3)), "create 1");
    story.at(0.0, created(1, Ok(())), "key 3 as 2");
    let text = "no key: 0123456789abcdef0123456789abcdef";
    story.at(0.0, key_set(2, Err(invalid(text))), "");
    story.is(SyncState::Rejected);
    assert!(story.error().ends_with("no key: ***"), "{}", story.error());
    assert!(story.sync.is_known_present());
}
