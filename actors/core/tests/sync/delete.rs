//! Nothing of ours is to be there.

use downbeat_core::sync::{OWNER_TAG, SyncState, WantedDevice};

use super::support::*;

#[test]
fn what_was_never_begun_needs_no_call() {
    let mut story = Story::new();
    story.at(0.0, gone(5), "");
    story.is_done();
    assert!(story.sync.is_finished_tombstone());
}

#[test]
fn create_rename_and_delete_while_the_server_is_down_end_as_nothing_to_do() {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.0, created(1, Err(Unavailable)), "");
    let renamed = WantedDevice {
        name: "other".to_owned(),
        ..lamp()
    };
    story.at(0.1, wish(2, &renamed), "create 2");
    story.at(0.2, gone(3), "");
    story.at(0.3, created(2, Err(Unavailable)), "");
    story.is_done();
    assert!(story.sync.is_finished_tombstone());
}

#[test]
fn our_device_is_looked_at_and_deleted() {
    let mut story = Story::of_created(&lamp());
    story.at(1.0, gone(2), "look 2");
    assert!(!story.sync.is_finished_tombstone());
    story.at(1.0, saw(2, remote()), "delete 3");
    assert!(!story.sync.is_known_present());
    story.at(1.0, deleted(3, Ok(())), "");
    story.is_done();
    assert!(story.sync.is_finished_tombstone());
}

#[test]
fn a_device_that_is_gone_is_deleted() {
    let mut story = Story::of_created(&lamp());
    story.at(1.0, gone(2), "look 2");
    story.at(1.0, saw_nothing(2), "");
    assert!(story.sync.is_finished_tombstone());

    let mut story = Story::of_created(&lamp());
    story.at(1.0, gone(2), "look 2");
    story.at(1.0, saw(2, remote()), "delete 3");
    story.at(1.0, deleted(3, Err(UnknownDevice)), "");
    assert!(story.sync.is_finished_tombstone());
}

#[test]
fn a_device_that_is_not_ours_any_more_is_left_alone() {
    let mut claimed = unclaimed();
    claimed
        .tags
        .insert(OWNER_TAG.to_owned(), STRANGER.to_string());
    for there in [unclaimed(), claimed] {
        let mut story = Story::of_created(&lamp());
        story.at(1.0, gone(2), "look 2");
        story.at(1.0, saw(2, there), "");
        story.is_done();
        assert!(story.sync.is_finished_tombstone());
        assert!(story.sync.note().unwrap().contains("left alone"));
    }
}

#[test]
fn a_conflict_that_is_deleted_needs_no_call() {
    let mut there = unclaimed();
    there.application_id = CELLAR;
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.0, created(1, Err(refused("duplicate key"))), "look 2");
    story.at(0.0, saw(2, there), "");
    story.is(SyncState::Conflict);
    story.at(1.0, gone(2), "");
    assert!(story.sync.is_finished_tombstone());
}

#[test]
fn a_wish_that_comes_back_while_the_deletion_is_under_way_wins() {
    let again = WantedDevice {
        device_id: LATER_LAMP,
        ..lamp()
    };
    let mut story = Story::of_created(&lamp());
    story.at(1.0, gone(2), "look 2");
    story.at(1.0, saw(2, remote()), "delete 3");
    story.at(1.0, wish(3, &again), "");
    story.at(1.1, deleted(3, Ok(())), "create 4");

    let mut story = Story::of_created(&lamp());
    story.at(1.0, gone(2), "look 2");
    story.at(1.0, wish(3, &again), "");
    story.at(1.1, saw(2, remote()), "look 3");
    story.at(1.1, saw(3, remote()), "update 4");

    let mut story = Story::of_created(&lamp());
    story.at(1.0, gone(2), "look 2");
    story.at(1.0, saw(2, remote()), "delete 3");
    story.at(1.0, wish(3, &again), "");
    story.at(1.1, deleted(3, Err(Unavailable)), "look 4");
    story.at(1.1, saw(4, remote()), "update 5");
}

#[test]
fn a_deletion_that_fails_is_tried_again_for_as_long_as_it_takes() {
    let mut story = Story::of_created(&lamp());
    story.at(1.0, gone(2), "look 2");
    story.at(1.0, saw(2, remote()), "delete 3");
    story.at(1.0, deleted(3, Err(invalid("what?"))), "");
    story.is(SyncState::Failing);
    story.wakes("look 4");
    story.at(3.0, saw(4, remote()), "delete 5");
    story.at(3.0, deleted(5, Err(refused("busy"))), "");
    assert_eq!(story.sync.status().attempts, 2);
    assert!(!story.sync.is_settled());
    story.wakes("look 6");
}
