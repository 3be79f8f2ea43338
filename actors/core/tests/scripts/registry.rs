//! What the registry tells a device, whether it is there, and words of relays that leave much out.

use downbeat_core::device::{Event, Policy, Presence};
use downbeat_core::id::GatewayId;
use downbeat_core::network::{NetworkEvent, Uplink};

use crate::support::{
    BLUE, FIRST, GREEN, RED, Story, ask, enqueued, light, raw, report, txack, uplink,
};

#[test]
fn a_device_that_leaves_has_no_command_and_no_wish_left() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(11.0, ask(raw('B', BLUE)), "B accepted");
    lamp.at(
        12.0,
        Event::Retired,
        "B cancelled: device_removed, A cancelled: device_removed",
    );
    assert_eq!(lamp.device.desired(), None);
    assert_eq!(lamp.device.unfinished().count(), 0);
    // It shows another light than the one that was wanted, and nobody minds.
    lamp.at(13.0, txack(1), "A transmitted, end turn");
    lamp.at(20.0, report(11, 5, GREEN), "");
    lamp.at(4000.0, report(12, 5, GREEN), "");
    assert!(lamp.device.is_idle());
}

#[test]
fn a_command_waits_until_chirpstack_has_the_device() {
    let mut lamp = Story::new();
    lamp.at(5.0, Event::Awaited(true), "");
    lamp.at(
        10.0,
        ask(light('A', RED)),
        "A accepted, A waits: not_synced",
    );
    assert!(
        lamp.next_wake().unwrap() > 1000.0,
        "nothing but its time to live"
    );
    lamp.at(60.0, Event::Awaited(false), "ask turn");
    lamp.at(60.1, Event::TurnGranted, "enqueue 1");
    lamp.at(60.2, enqueued(1), "A enqueued");
}

#[test]
fn a_wish_for_a_turn_is_taken_back_when_chirpstack_turns_out_not_to_have_the_device() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.5, Event::Awaited(true), "A waits: not_synced, end turn");
    lamp.at(11.0, Event::Awaited(false), "ask turn");
}

#[test]
fn an_outage_is_told_once_and_ends_with_a_word() {
    let interval = Policy::default().uplink_interval.as_secs_f64();
    let mut lamp = Story::new();
    assert_eq!(lamp.device.presence(), Presence::Online);
    lamp.at(interval * 2.0 - 1.0, Event::Silent, "");
    assert_eq!(lamp.device.presence(), Presence::Online, "one may be lost");
    for second in [interval * 2.0, interval * 3.0] {
        lamp.at(second, Event::Silent, "");
        assert_eq!(lamp.device.presence(), Presence::Offline);
    }
    lamp.at(interval * 4.0, report(14, 4, GREEN), "");
    assert_eq!(lamp.device.presence(), Presence::Online);
    let counts = lamp.device.uplink_counts();
    assert_eq!((counts.heard, counts.missed), (2, 3));
}

#[test]
fn a_device_that_was_never_heard_is_not_gone() {
    let mut lamp = Story::of_unknown(Policy::default());
    lamp.at(1_000_000.0, Event::Silent, "");
    assert_eq!(lamp.device.presence(), Presence::NeverSeen);
    let told = |is_there| Event::Network(NetworkEvent::PresenceTold(is_there));
    lamp.at(1_000_001.0, told(true), "");
    assert_eq!(lamp.device.presence(), Presence::Online);
    lamp.at(1_000_002.0, told(false), "");
    assert_eq!(lamp.device.presence(), Presence::Offline);
}

/// An uplink as relays pass it on: without session, counter and the name of a gateway.
fn relayed(battery_percent: f32) -> Event {
    let mut said = uplink(FIRST, 0, 4, GREEN);
    for reception in &mut said.receptions {
        reception.gateway_id = GatewayId::UNNAMED;
    }
    Event::Network(NetworkEvent::Heard(Uplink {
        dev_addr: None,
        deduplication_id: None,
        battery_percent: Some(battery_percent),
        payload: Vec::new(),
        ..said
    }))
}

#[test]
fn uplinks_that_tell_no_counter_are_news_each() {
    let mut lamp = Story::of_unknown(Policy::default());
    for (second, percent) in [(10.0, 80.0), (20.0, 79.0), (30.0, 78.0)] {
        lamp.at(second, relayed(percent), "");
        assert_eq!(
            lamp.device.last_seen(),
            Some(crate::support::instant(second))
        );
        assert_eq!(lamp.device.battery_percent(), Some(percent));
    }
    let counts = lamp.device.uplink_counts();
    assert_eq!((counts.heard, counts.missed), (3, 0));
}

#[test]
fn a_gateway_without_a_name_keeps_no_command_waiting() {
    let mut lamp = Story::of_unknown(Policy::default());
    lamp.at(10.0, relayed(80.0), "");
    lamp.at(11.0, ask(light('A', RED)), "A accepted, ask turn");
}
