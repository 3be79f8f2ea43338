//! A device that ChirpStack has already: ours, nobody's, somebody else's.

use downbeat_core::id::JoinEui;
use downbeat_core::sync::{OWNER_TAG, RemoteDevice, SyncState, WantedDevice};
use uuid::Uuid;

use super::support::*;

/// A Create was refused, and a look shows this.
fn story_of_finding(device: RemoteDevice, calls: &str) -> Story {
    let mut story = Story::new();
    story.at(0.0, wish(1, &lamp()), "create 1");
    story.at(0.0, created(1, Err(refused("duplicate key"))), "look 2");
    story.at(0.0, saw(2, device), calls);
    story
}

#[test]
fn a_request_to_look_again_updates_nothing_where_nothing_differs() {
    let mut story = Story::of_created(&lamp());
    story.at(1.0, wish(2, &lamp()), "look 2");
    let mut with_others_marks = remote();
    with_others_marks.tags.extend(texts([("asset", "77")]));
    with_others_marks.variables = texts([("secret", "x")]);
    with_others_marks.is_disabled = true;
    story.at(1.1, saw(2, with_others_marks), "");
    story.is_done();
    assert_eq!(story.sync.synced_generation(), 2);
}

#[test]
fn every_field_that_differs_is_updated() {
    let different = [
        WantedDevice {
            name: "other".to_owned(),
            ..lamp()
        },
        WantedDevice {
            description: String::new(),
            ..lamp()
        },
        WantedDevice {
            application_id: CELLAR,
            ..lamp()
        },
        WantedDevice {
            device_profile_id: Uuid::from_u128(0xb2),
            ..lamp()
        },
        WantedDevice {
            join_eui: Some(JoinEui::from_u64(9)),
            ..lamp()
        },
        WantedDevice {
            tags: texts([("room", "cellar"), ("floor", "2")]),
            ..lamp()
        },
        WantedDevice {
            tags: texts([("room", "hall")]),
            ..lamp()
        },
    ];
    for wanted in different {
        let mut story = Story::of_created(&lamp());
        story.at(1.0, wish(2, &wanted), "look 2");
        story.at(1.0, saw(2, remote()), "update 3");
        let sent = story.sent();
        assert_eq!(sent.name, wanted.name);
        assert_eq!(sent.description, wanted.description);
        assert_eq!(sent.application_id, wanted.application_id);
        assert_eq!(sent.device_profile_id, wanted.device_profile_id);
        assert_eq!(
            sent.join_eui,
            wanted.join_eui.unwrap_or(JoinEui::from_u64(0))
        );
        let mut tags = sent.tags;
        assert_eq!(tags.remove(OWNER_TAG), Some(LAMP.to_string()));
        assert_eq!(tags, wanted.tags);
        story.at(1.1, updated(3, Ok(())), "");
        story.is_done();
    }
}

#[test]
fn what_others_keep_there_is_given_back() {
    let mut story = Story::of_created(&lamp());
    let wanted = WantedDevice {
        tags: texts([("room", "cellar")]),
        ..lamp()
    };
    story.at(1.0, wish(2, &wanted), "look 2");
    let mut there = remote();
    there.tags.extend(texts([("asset", "77")]));
    there.variables = texts([("secret", "x")]);
    there.is_disabled = true;
    there.skip_fcnt_check = true;
    there.join_eui = JoinEui::from_u64(5);
    story.at(1.0, saw(2, there.clone()), "update 3");
    let mut expected = there;
    expected.tags.remove("floor");
    expected.tags.extend(texts([("room", "cellar")]));
    assert_eq!(story.sent(), expected);
}

#[test]
fn a_tag_that_is_no_longer_ours_is_left_to_others() {
    let mut story = Story::of_created(&lamp());
    let bare = WantedDevice {
        tags: texts([]),
        ..lamp()
    };
    story.at(1.0, wish(2, &bare), "look 2");
    story.at(1.0, saw(2, remote()), "update 3");
    story.at(1.0, updated(3, Ok(())), "");
    story.at(2.0, wish(3, &bare), "look 4");
    let mut there = remote();
    there.tags = texts([("room", "theirs"), (OWNER_TAG, &LAMP.to_string())]);
    story.at(2.0, saw(4, there), "");
    story.is_done();
}

#[test]
fn tags_of_others_that_were_never_replaced_stay_theirs() {
    let theirs = || {
        let mut there = remote();
        there.tags.extend(texts([("asset", "77")]));
        there
    };
    let wanted = WantedDevice {
        tags: texts([("room", "hall"), ("floor", "2"), ("asset", "ours")]),
        ..lamp()
    };
    for (failure, is_written) in [
        (Unavailable, false),
        (refused("busy"), false),
        (refused("busy"), true),
    ] {
        let mut story = Story::of_created(&lamp());
        story.at(1.0, wish(2, &wanted), "look 2");
        story.at(1.0, saw(2, theirs()), "update 3");
        let there = if is_written { story.sent() } else { theirs() };
        story.at(1.0, updated(3, Err(failure)), "");
        let renamed = WantedDevice {
            name: "other".to_owned(),
            ..lamp()
        };
        story.at(1.1, wish(3, &renamed), "look 4");
        story.at(1.1, saw(4, there), "update 5");
        assert_eq!(story.sent().tags.contains_key("asset"), !is_written);
    }
}

#[test]
fn a_device_that_others_registered_anew_keeps_all_of_its_tags() {
    let mut story = Story::of_created(&lamp());
    let bare = WantedDevice {
        tags: texts([]),
        ..lamp()
    };
    story.at(1.0, wish(2, &bare), "look 2");
    story.at(1.0, saw(2, unclaimed()), "update 3");
    let mut tags = unclaimed().tags;
    tags.insert(OWNER_TAG.to_owned(), LAMP.to_string());
    assert_eq!(story.sent().tags, tags);
}

#[test]
fn a_device_of_nobody_in_the_wanted_application_is_adopted() {
    let mut story = story_of_finding(unclaimed(), "update 3");
    let mut expected = unclaimed();
    expected.name = lamp().name;
    expected.tags = texts([
        ("room", "hall"),
        ("floor", "2"),
        ("asset", "77"),
        (OWNER_TAG, &LAMP.to_string()),
    ]);
    assert_eq!(story.sent(), expected);
    story.at(0.1, updated(3, Ok(())), "");
    story.is_done();
    assert!(story.sync.is_adopted());
    assert!(story.sync.note().is_some());
}

#[test]
fn a_device_of_nobody_elsewhere_is_a_conflict() {
    let there = RemoteDevice {
        application_id: CELLAR,
        ..unclaimed()
    };
    let mut story = story_of_finding(there.clone(), "");
    story.is(SyncState::Conflict);
    assert!(story.sync.is_settled() && !story.sync.is_known_present());
    assert!(story.error().contains(&CELLAR.to_string()));
    assert_eq!(story.sync.synced_generation(), 0);
    story.at(9.0, ServerReturned, "");
    // Somebody moved it, and asks to look again.
    story.at(10.0, wish(2, &lamp()), "look 3");
    story.at(10.0, saw(3, unclaimed()), "update 4");
    story.at(10.0, updated(4, Ok(())), "");
    story.is_done();
}

#[test]
fn a_device_of_another_owner_is_a_conflict_unless_forced() {
    let mut there = unclaimed();
    there
        .tags
        .insert(OWNER_TAG.to_owned(), STRANGER.to_string());
    let mut story = story_of_finding(there.clone(), "");
    story.is(SyncState::Conflict);
    assert!(story.error().contains(&STRANGER.to_string()));
    story.at(10.0, forced(2, &lamp()), "look 3");
    story.at(10.0, saw(3, there), "update 4");
    assert_eq!(story.sent().tags.get(OWNER_TAG), Some(&LAMP.to_string()));
    assert_eq!(story.sent().tags.get("asset").unwrap(), "77");
    story.at(10.0, updated(4, Ok(())), "");
    story.is_done();
    assert!(story.sync.is_adopted());
}

#[test]
fn an_owner_that_is_no_id_is_another_and_an_empty_one_is_none() {
    let mut there = unclaimed();
    there.tags.insert(OWNER_TAG.to_owned(), "us".to_owned());
    story_of_finding(there.clone(), "").is(SyncState::Conflict);
    there.tags.insert(OWNER_TAG.to_owned(), String::new());
    story_of_finding(there, "update 3");
}

#[test]
fn a_device_registered_again_takes_over_what_an_earlier_one_left() {
    let mut story = Story::of_created(&lamp());
    let again = WantedDevice {
        device_id: LATER_LAMP,
        ..lamp()
    };
    story.at(1.0, wish(2, &again), "look 2");
    story.at(1.0, saw(2, remote()), "update 3");
    assert_eq!(
        story.sent().tags.get(OWNER_TAG),
        Some(&LATER_LAMP.to_string())
    );
    story.at(1.0, updated(3, Ok(())), "");
    story.is_done();
    assert!(!story.sync.is_adopted());
}

#[test]
fn a_device_that_others_deleted_is_created_again() {
    let mut story = Story::of_created(&lamp());
    story.at(1.0, wish(2, &lamp()), "look 2");
    story.at(1.0, saw_nothing(2), "create 3");
    story.at(1.0, created(3, Ok(())), "");
    story.is_done();
    let renamed = WantedDevice {
        name: "other".to_owned(),
        ..lamp()
    };
    story.at(2.0, wish(3, &renamed), "look 4");
    story.at(2.0, saw(4, remote()), "update 5");
    story.at(2.0, updated(5, Err(UnknownDevice)), "");
    story.is(SyncState::Failing);
    story.wakes("look 6");
    story.at(4.0, look_failed(6, UnknownDevice), "create 7");
    assert_eq!(story.sent().name, "other");
}
