//! Calls of which nobody knows whether they were carried out: their answer was lost, or the process was killed.

use downbeat_core::sync::{SyncState, WantedDevice};

use super::support::*;

fn renamed() -> WantedDevice {
    WantedDevice {
        name: "other".to_owned(),
        ..lamp()
    }
}

#[test]
fn a_create_without_an_answer_is_looked_up() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(3.0, created(1, Err(AnswerLost)), "");
    story.is(SyncState::Failing);
    story.wakes("look 2");
    story.at(4.5, saw(2, remote()), "");
    story.is_done();
    assert!(!story.sync.is_adopted());
}

#[test]
fn a_create_that_shows_no_effect_has_its_time_before_it_is_repeated() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(3.0, created(1, Err(AnswerLost)), "");
    story.wakes("look 2");
    story.at(4.5, saw_nothing(2), "");
    story.at(4.5, ServerReturned, "");
    assert_eq!(story.wakes("look 3"), 8.0);
    story.at(8.0, saw_nothing(3), "create 4");
}

#[test]
fn a_create_that_may_still_come_holds_up_the_end_of_a_deletion() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(3.0, created(1, Err(AnswerLost)), "");
    story.at(3.1, gone(2), "look 2");
    story.at(3.2, saw_nothing(2), "");
    assert!(!story.sync.is_finished_tombstone());
    assert_eq!(story.wakes("look 3"), 8.0);
    story.at(8.0, saw(3, remote()), "delete 4");
    story.at(8.0, deleted(4, Ok(())), "");
    assert!(story.sync.is_finished_tombstone());
}

#[test]
fn a_create_that_may_still_come_holds_up_a_verdict_on_anothers_device() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(3.0, created(1, Err(AnswerLost)), "");
    story.wakes("look 2");
    let mut there = unclaimed();
    there.application_id = CELLAR;
    story.at(4.5, saw(2, there.clone()), "");
    assert_eq!(story.wakes("look 3"), 8.0);
    story.at(8.0, saw(3, there), "");
    story.is(SyncState::Conflict);
}

#[test]
fn a_create_that_was_carried_out_is_deleted_at_once() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(3.0, created(1, Err(AnswerLost)), "");
    story.at(3.1, gone(2), "look 2");
    story.at(3.2, saw(2, remote()), "delete 3");
}

#[test]
fn an_update_without_an_answer_is_looked_up() {
    let mut story = Story::of_created(&lamp());
    story.at(10.0, wish(2, &renamed()), "look 2");
    story.at(10.0, saw(2, remote()), "update 3");
    let sent = story.sent();
    story.at(13.0, updated(3, Err(AnswerLost)), "");
    story.wakes("look 4");
    story.at(14.5, saw(4, sent), "");
    story.is_done();
}

#[test]
fn an_older_update_that_may_still_come_is_waited_for() {
    let mut story = Story::of_created(&lamp());
    story.at(10.0, wish(2, &renamed()), "look 2");
    story.at(10.0, saw(2, remote()), "update 3");
    let sent = story.sent();
    story.at(13.0, updated(3, Err(AnswerLost)), "");
    // Back to how it was: what is there is right, until the Update comes.
    story.at(13.1, wish(3, &lamp()), "look 4");
    story.at(13.2, saw(4, remote()), "");
    story.is(SyncState::Pending);
    assert_eq!(story.wakes("look 5"), 18.0);
    story.at(18.0, saw(5, sent), "update 6");
    story.at(18.0, updated(6, Ok(())), "");
    story.is_done();
}

#[test]
fn a_delete_without_an_answer_is_looked_up() {
    let mut story = Story::of_created(&lamp());
    story.at(10.0, gone(2), "look 2");
    story.at(10.0, saw(2, remote()), "delete 3");
    story.at(13.0, deleted(3, Err(AnswerLost)), "");
    story.wakes("look 4");
    story.at(14.5, saw_nothing(4), "");
    assert!(story.sync.is_finished_tombstone());
}

#[test]
fn a_delete_that_may_still_come_holds_up_a_wish_that_came_back() {
    let mut story = Story::of_created(&lamp());
    story.at(10.0, gone(2), "look 2");
    story.at(10.0, saw(2, remote()), "delete 3");
    story.at(12.0, wish(3, &lamp()), "");
    story.at(13.0, deleted(3, Err(AnswerLost)), "look 4");
    story.at(13.1, saw(4, remote()), "");
    assert_eq!(story.wakes("look 5"), 18.0);
    story.at(18.0, saw_nothing(5), "create 6");
}

#[test]
fn after_a_restart_a_call_under_way_is_looked_up() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.restarts(2.0, "look 2");
    story.is(SyncState::Pending);
    story.at(2.0, created(1, Ok(())), "");
    story.at(2.1, saw_nothing(2), "");
    story.at(2.2, gone(2), "");
    assert_eq!(story.wakes("look 3"), 7.0);
    story.at(7.0, saw(3, remote()), "delete 4");
    story.restarts(8.0, "look 5");
    story.at(8.0, saw_nothing(5), "");
    assert!(story.sync.is_finished_tombstone());
}

#[test]
fn after_a_restart_a_look_is_repeated_and_a_settled_device_rests() {
    let mut story = Story::of_created(&lamp());
    story.restarts(1.0, "");
    story.is_done();
    story.at(1.0, wish(2, &lamp()), "look 2");
    story.restarts(2.0, "look 3");
    story.at(2.0, saw(3, remote()), "");
    story.is_done();
}

#[test]
fn a_pause_outlives_a_restart() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.0, created(1, Err(refused("no"))), "look 2");
    story.at(0.0, saw_nothing(2), "");
    let wake = story.next_wake();
    story.restarts(0.5, "");
    assert_eq!(story.next_wake(), wake);
    story.restarts(5.0, "create 3");
}

#[test]
fn a_clock_that_was_set_back_gives_a_lost_call_its_whole_time() {
    let mut story = Story::new();
    story.at(1000.0, wish(1, &lamp()), "create 1");
    story.at(1003.0, created(1, Err(AnswerLost)), "");
    story.at(10.0, Elapsed, "look 2");
    story.at(10.0, saw_nothing(2), "");
    assert_eq!(story.wakes("look 3"), 15.0);
}
