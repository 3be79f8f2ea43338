//! Stories of jobs, told step by step.

use std::time::Duration;

use downbeat_core::device::{DownlinkState, Reason};
use downbeat_core::id::DownlinkId;
use downbeat_core::job::{Change, Effect, Event, ItemState, Job, JobState, Refusal, TakenUp};

use crate::support::{
    LIMITS, at, begun, begun_as, handed_over, id, item, known, moved, new, stored, waits,
};

#[test]
fn a_few_are_handed_over_and_each_that_is_on_air_makes_room_for_the_next() {
    let (mut job, effects) = begun(4);
    assert_eq!(effects, [handed_over(0), handed_over(1)].concat());
    for seq in [0, 1] {
        assert_eq!(job.step(at(1), Event::Accepted(id(seq))), []);
        let in_queue = moved(seq, DownlinkState::Enqueued);
        assert_eq!(job.step(at(1), in_queue), []);
    }
    let effects = job.step(at(2), moved(0, DownlinkState::Transmitted));
    assert_eq!(effects, handed_over(2));
    let effects = job.step(at(3), moved(0, DownlinkState::Verified));
    assert_eq!(effects, [stored(0, ItemState::Verified, 1)]);
    let effects = job.step(at(3), moved(1, DownlinkState::Transmitted));
    assert_eq!(effects, handed_over(3));
    for seq in 1..4 {
        assert_eq!(job.state(), JobState::Running);
        let effects = job.step(at(4), moved(seq, DownlinkState::Verified));
        assert_eq!(effects, [stored(seq, ItemState::Verified, 1)]);
    }
    assert_eq!(job.state(), JobState::Done);
    assert_eq!(job.finished_at(), Some(at(4)));
    assert_eq!(job.spent(at(9)), Duration::from_secs(4));
    assert_eq!((job.attempts(), job.counts().finished()), (4, 4));
    assert_eq!(job.remaining(at(9)), Some(Duration::ZERO));
}

#[test]
fn no_more_answers_are_awaited_than_may() {
    let (mut job, _) = begun(9);
    for seq in 0..4 {
        let _ = job.step(at(1), moved(seq, DownlinkState::Transmitted));
    }
    assert_eq!(job.counts().get(ItemState::UnderWay), 4);
    // A second attempt takes a place before the air again.
    assert_eq!(job.step(at(2), waits(3, Reason::LostOnAir)), []);
    assert_eq!(job.step(at(3), waits(3, Reason::Paced)), []);
    let effects = job.step(at(4), moved(0, DownlinkState::Verified));
    let verified = [stored(0, ItemState::Verified, 1)];
    assert_eq!(effects, [&verified[..], &handed_over(4)].concat());
}

#[test]
fn who_is_out_of_reach_holds_nobody_up_until_there_are_many() {
    let (mut job, _) = begun(9);
    let effects = job.step(at(1), waits(0, Reason::NoGateway));
    assert_eq!(effects, handed_over(2));
    let effects = job.step(at(1), waits(1, Reason::BeforeFirstUplink));
    assert_eq!(effects, handed_over(3));
    assert_eq!(job.out_of_reach(), 2);
    // The third: as many as may wait for a gateway.
    assert_eq!(job.step(at(1), waits(2, Reason::NoGateway)), []);
    // One comes back.
    assert_eq!(job.step(at(2), waits(0, Reason::Paced)), []);
    let effects = job.step(at(3), moved(0, DownlinkState::Transmitted));
    assert_eq!(effects, handed_over(4));
}

#[test]
fn how_long_it_takes_is_not_known_while_only_devices_out_of_reach_are_left() {
    let (mut job, _) = begun(2);
    assert_eq!(job.remaining(at(0)), Some(Duration::from_secs(2)));
    let _ = job.step(at(1), moved(0, DownlinkState::Verified));
    let _ = job.step(at(1), waits(1, Reason::NoGateway));
    assert_eq!(job.remaining(at(60)), None);
}

#[test]
fn devices_are_handed_over_no_closer_than_the_stagger() {
    let stagger = Duration::from_secs(5);
    let (mut job, effects) = begun_as(TakenUp { stagger, ..new(3) }, 3);
    assert_eq!(effects, handed_over(0));
    assert_eq!(job.next_wake(), Some(at(5)));
    assert_eq!(job.step(at(4), moved(0, DownlinkState::Transmitted)), []);
    assert_eq!(job.step(at(5), Event::Elapsed), handed_over(1));
    assert_eq!(job.next_wake(), Some(at(10)));
}

#[test]
fn a_paused_job_hands_nobody_over_and_follows_those_under_way() {
    let (mut job, _) = begun(4);
    assert_eq!(job.step(at(1), Event::PauseRequested), []);
    assert_eq!(job.state(), JobState::Paused);
    let effects = job.step(at(2), moved(0, DownlinkState::Verified));
    assert_eq!(effects, [stored(0, ItemState::Verified, 1)]);
    assert_eq!(job.next_wake(), None);
    assert_eq!(job.spent(at(100)), Duration::from_secs(1));
    let effects = job.step(at(100), Event::ResumeRequested);
    assert_eq!(effects, handed_over(2));
    assert_eq!(job.state(), JobState::Running);
}

#[test]
fn a_cancelled_job_takes_back_what_is_under_way_and_ends_with_the_last_of_it() {
    let (mut job, _) = begun(4);
    let effects = job.step(at(1), Event::CancelRequested);
    let expected = [
        Effect::CancelWaiting,
        Effect::Withdraw(item(0)),
        Effect::Withdraw(item(1)),
    ];
    assert_eq!(effects, expected);
    assert_eq!((job.state(), job.is_over()), (JobState::Cancelled, false));
    assert_eq!(job.counts().get(ItemState::Cancelled), 2);
    // Its order was still on its way when it was taken back.
    assert_eq!(
        job.step(at(2), Event::Accepted(id(0))),
        [Effect::Withdraw(item(0))]
    );
    for (seq, state, ends) in [
        (0, DownlinkState::Cancelled, ItemState::Cancelled),
        (1, DownlinkState::Verified, ItemState::Verified),
    ] {
        let effects = job.step(at(3), moved(seq, state));
        assert_eq!(effects, [stored(seq, ends, 1)]);
    }
    assert_eq!(job.finished_at(), Some(at(3)));
    assert_eq!(job.step(at(4), Event::ResumeRequested), []);
    assert_eq!(job.state(), JobState::Cancelled);
}

#[test]
fn a_device_that_is_busy_is_asked_again_later_and_less_often() {
    let (mut job, _) = begun(1);
    for (pause, now) in [(2, 0), (4, 2), (8, 6)] {
        assert_eq!(job.step(at(now), Event::Busy(id(0))), []);
        assert_eq!(job.next_wake(), Some(at(now + pause)));
        assert_eq!(job.step(at(now + pause - 1), Event::Elapsed), []);
        let effects = job.step(at(now + pause), Event::Elapsed);
        assert_eq!(effects, [Effect::HandOver(item(0))]);
    }
    let _ = job.step(at(14), Event::Busy(id(0)));
    let effects = job.step(at(14), Event::CancelRequested);
    assert_eq!(effects, [stored(0, ItemState::Cancelled, 0)]);
    assert!(job.is_over());
}

#[test]
fn what_a_device_refuses_is_told_with_its_reason() {
    for (refusal, state, reason) in [
        (Refusal::UnknownDevice, ItemState::Skipped, "unknown_device"),
        (Refusal::NotUnderstood, ItemState::Skipped, "not_understood"),
        (Refusal::Newer, ItemState::Superseded, "newer_command"),
        (Refusal::DoneBefore, ItemState::Skipped, "done_before"),
    ] {
        let (mut job, _) = begun(1);
        let effects = job.step(at(1), Event::Refused(id(0), refusal));
        let change = Change {
            seq: 0,
            state,
            reason: Some(reason),
            attempts: 0,
        };
        assert_eq!(effects, [Effect::Store(change)]);
        assert_eq!(job.state(), JobState::Done);
    }
}

#[test]
fn a_proof_that_comes_late_still_counts() {
    let (mut job, _) = begun(2);
    let _ = job.step(at(1), moved(0, DownlinkState::Unverified));
    let effects = job.step(at(2), moved(0, DownlinkState::Verified));
    assert_eq!(effects, [stored(0, ItemState::Verified, 1)]);
    assert_eq!(job.step(at(3), moved(0, DownlinkState::Verified)), []);
    assert_eq!(job.counts().get(ItemState::Verified), 1);
    assert_eq!(job.counts().get(ItemState::Unverified), 0);
}

#[test]
fn after_a_crash_what_the_store_knows_is_followed_and_the_rest_handed_over_again() {
    let mut stored_job = new(5);
    for _ in 0..4 {
        let counts = &mut stored_job.counts;
        counts.shift(ItemState::Waiting, ItemState::UnderWay);
    }
    stored_job.time_to_live = Duration::from_mins(10);
    stored_job.under_way = vec![
        // Its end was stored, and the crash came before the job heard of it.
        (item(0), at(-60), Some(known(DownlinkState::Verified, None))),
        (
            item(1),
            at(-60),
            Some(known(DownlinkState::Transmitted, None)),
        ),
        // Stored as handed over, and never was.
        (item(2), at(-60), None),
        // The same, so long ago that nobody wants it any more.
        (item(3), at(-600), None),
    ];
    let (mut job, effects) = Job::take_up(stored_job, LIMITS, at(0));
    let expected = [
        stored(0, ItemState::Verified, 1),
        Effect::HandOver(item(2)),
        stored(3, ItemState::Expired, 0),
        Effect::Read {
            after: None,
            limit: 500,
        },
    ];
    assert_eq!(effects, expected);
    let effects = job.step(at(1), Event::Read(vec![item(4)]));
    assert_eq!(effects, handed_over(4));
    for seq in [1, 2, 4] {
        let _ = job.step(at(2), moved(seq, DownlinkState::Verified));
    }
    assert_eq!(job.state(), JobState::Done);
    assert_eq!(job.counts().get(ItemState::Verified), 4);
}

#[test]
fn a_crash_does_not_lose_a_cancellation() {
    let mut stored_job = TakenUp {
        state: JobState::Cancelled,
        ..new(2)
    };
    let counts = &mut stored_job.counts;
    counts.shift_all(ItemState::Waiting, ItemState::UnderWay);
    stored_job.under_way = vec![
        (item(0), at(-1), Some(known(DownlinkState::Enqueued, None))),
        (item(1), at(-1), None),
    ];
    let (job, effects) = Job::take_up(stored_job, LIMITS, at(0));
    let expected = [
        Effect::Withdraw(item(0)),
        stored(1, ItemState::Cancelled, 0),
    ];
    assert_eq!(effects, expected);
    assert!(!job.is_over());
}

#[test]
fn further_items_are_read_before_the_last_are_handed_over() {
    let (mut job, effects) = Job::take_up(new(1_100), LIMITS, at(0));
    assert_eq!(
        effects,
        [Effect::Read {
            after: None,
            limit: 500
        }]
    );
    let effects = job.step(at(0), Event::Read((0..500).map(item).collect()));
    assert_eq!(effects.len(), 4);
    let mut reads = Vec::new();
    for seq in 0..500 {
        for effect in job.step(at(1), moved(seq, DownlinkState::Verified)) {
            if let Effect::Read { after, .. } = effect {
                reads.push((seq, after));
            }
        }
    }
    assert_eq!(reads, [(398, Some(499))]);
    // An answer to a question that nobody asked.
    let unasked = Event::Read(vec![item(7)]);
    let effects = job.step(at(2), Event::Read((500..1_000).map(item).collect()));
    assert_eq!(effects, [handed_over(500), handed_over(501)].concat());
    assert_eq!(job.step(at(2), unasked), []);
    assert_eq!(job.counts().get(ItemState::UnderWay), 2);
}

#[test]
fn what_is_told_of_others_changes_nothing() {
    let (mut job, _) = begun(1);
    let stranger = DownlinkId::from_uuid(uuid::Uuid::from_u128(999));
    for event in [
        Event::Accepted(stranger),
        Event::Busy(stranger),
        Event::Refused(stranger, Refusal::UnknownDevice),
        Event::Moved {
            downlink_id: stranger,
            known: known(DownlinkState::Verified, None),
        },
    ] {
        assert_eq!(job.step(at(1), event), []);
    }
    assert_eq!(job.counts().get(ItemState::UnderWay), 1);
}
