//! What the monitor learns of gateways and links, and what the cleaner does with queues that do not move.

use downbeat_core::gateway::{GatewayState, GatewayTransition};
use downbeat_core::link_quality::Diagnosis;

use super::*;
use crate::observe::{FeedBody, FeedItem};

const YARD: GatewayId = GatewayId::from_u64(0x0016_c001_5033_0001);

/// An uplink that one gateway heard.
fn heard_by(gateway_id: GatewayId, f_cnt: u32, downlinks_received: u32) -> NetworkEvent {
    let NetworkEvent::Heard(uplink) = reports(LightState::OFF, f_cnt, downlinks_received) else {
        unreachable!("it is one");
    };
    let reception = Reception {
        gateway_id,
        rssi_dbm: -80,
        snr_db: 8.0,
    };
    NetworkEvent::Heard(Uplink {
        receptions: vec![reception],
        ..uplink
    })
}

/// A tx-ack of a gateway for an item of another application.
fn taken_by(gateway_id: GatewayId) -> NetworkEvent {
    NetworkEvent::Transmitted(Transmitted {
        queue_item_id: Some(QueueItemId::from_uuid(Uuid::now_v7())),
        f_cnt_down: 1,
        gateway_id: Some(gateway_id),
        modulation: Some(Modulation::lora_125(9)),
        frequency_hz: None,
        timing: None,
    })
}

fn foreign_item() -> QueueItem {
    QueueItem {
        id: QueueItemId::from_uuid(Uuid::now_v7()),
        f_port: 2,
        payload: vec![1],
        confirmed: false,
        is_pending: false,
        expires_at: None,
    }
}

impl World {
    fn roof(&self) -> downbeat_core::gateway::GatewayStatus {
        self.system.gateways(NetworkServerId::Default).gateways[&GATEWAY].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn the_silence_of_a_gateway_is_noticed_within_15_seconds_and_ends_with_a_tx_ack() {
    let world = World::with_devices(3).await;
    for (number, gateway_id) in [(0, GATEWAY), (1, GATEWAY), (2, YARD)] {
        world.report(number, heard_by(gateway_id, 1, 0)).await;
        world.report(number, taken_by(gateway_id)).await;
    }
    let mut feed = world.system.feed().subscribe(None);
    for number in 0..3 {
        world.order(number).await.unwrap();
    }
    let items = world.until_enqueued(3).await;
    let of = |number| *items.iter().find(|(it, _)| *it == device(number)).unwrap();
    world.report(2, taken_by(YARD)).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let mute = world.roof();
    assert!(mute.mute_since.is_some() && !mute.likely_alive);
    assert_eq!(mute.state, GatewayState::Online);
    let told = async {
        loop {
            if let FeedItem::Event(_, event) = feed.next().await
                && let FeedBody::Gateway(view) = &event.body
            {
                return (view.status.gateway_id, view.transition);
            }
        }
    };
    assert_eq!(told.await, (GATEWAY, GatewayTransition::FellMute));

    let (dev_eui, item) = of(0);
    let transmitted = world.server.transmit(dev_eui, item);
    world.report(0, transmitted).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.roof().likely_alive);
}

#[tokio::test(start_paused = true)]
async fn links_and_success_are_learnt_and_outlive_the_process() {
    let (store, server) = (Kept::with_devices(2), Arc::<Server>::default());
    let world = World::over(Arc::clone(&store), Arc::clone(&server)).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    let mut submission = world.order(0).await.unwrap();
    world.until_verified(0, &mut submission, 0).await;
    let known = world.system.links_of(key(device(0))).await.unwrap();
    let link = known.links.link(GATEWAY).unwrap().clone();
    assert_eq!((link.uplinks_heard, link.downlinks_taken), (2, 1));
    assert_eq!((link.downlinks_proven, link.downlinks_unproven), (1, 0));
    assert_eq!(link.diagnosis(world.system.clock().now()), Diagnosis::Fine);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let day = world.roof().day;
    assert_eq!((day.taken, day.proven, day.unproven), (1, 1, 0));
    world.system.stop(Duration::from_secs(1)).await;
    drop(world);

    let world = World::over(store, server).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let again = world.system.links_of(key(device(0))).await.unwrap();
    assert_eq!(again.links.link(GATEWAY), Some(&link));
    assert_eq!(again.owner, known.owner);
    let roof = world.roof();
    assert_eq!((roof.day, roof.uplinks_heard), (day, 2));
    let heard = world.system.devices_of_gateway(
        NetworkServerId::Default,
        GATEWAY,
        Some(known.owner.tenant_id),
        None,
        10,
    );
    let heard = heard.await;
    assert_eq!((heard.len(), heard[0].owner), (1, known.owner));
}

#[tokio::test(start_paused = true)]
async fn an_expired_item_of_ours_is_flushed_when_nothing_can_reach_the_device() {
    let world = World::with_devices(1).await;
    world.server.may_flush.store(true, Ordering::Relaxed);
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    world.order(0).await.unwrap();
    world.until_enqueued(1).await;
    world.server.gateway_offline.store(true, Ordering::Relaxed);
    // Out of reach after five minutes, seen by the next round, still the same ten minutes later.
    tokio::time::sleep(Duration::from_mins(14)).await;
    assert_eq!(world.server.queues.lock().unwrap()[&device(0)].len(), 1);
    assert_eq!(world.server.flushed.load(Ordering::Relaxed), 0);
    tokio::time::sleep(Duration::from_mins(12)).await;
    assert_eq!(world.server.flushed.load(Ordering::Relaxed), 1);
    assert_eq!(world.system.queue_findings(NetworkServerId::Default), []);
}

#[tokio::test(start_paused = true)]
async fn what_others_put_into_a_queue_is_reported_and_never_flushed() {
    let world = World::with_devices(1).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    let item = foreign_item();
    let queue = vec![item.clone()];
    world.server.queues.lock().unwrap().insert(device(0), queue);
    world.server.gateway_offline.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_mins(30)).await;
    let found = world.system.queue_findings(NetworkServerId::Default);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].head, found[0].foreign_items), (item.id, 1));
    assert_eq!(found[0].owner.dev_eui, device(0));

    // A gateway is back: the queue moves by itself.
    world.server.gateway_offline.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_mins(6)).await;
    assert_eq!(world.system.queue_findings(NetworkServerId::Default), []);
    assert_eq!(world.server.queues.lock().unwrap()[&device(0)].len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_gone_has_no_links_any_more() {
    let world = World::with_devices(1).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    // Long since let go.
    tokio::time::sleep(Duration::from_mins(5)).await;
    world.system.registry_changed(key(device(0)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.system.links_of(key(device(0))).await.is_some());
    world.store.states.lock().unwrap().clear();
    world.system.registry_changed(key(device(0)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.system.links_of(key(device(0))).await, None);
}

#[tokio::test(start_paused = true)]
async fn tx_acks_that_are_lost_on_the_way_to_us_accuse_nobody() {
    let world = World::with_devices(3).await;
    for (number, gateway_id) in [(0, GATEWAY), (1, GATEWAY), (2, YARD)] {
        world.report(number, heard_by(gateway_id, 1, 0)).await;
        world.report(number, taken_by(gateway_id)).await;
    }
    for number in 0..3 {
        world.order(number).await.unwrap();
    }
    world.until_enqueued(3).await;
    // They went out, and nobody told us.
    world.server.queues.lock().unwrap().clear();
    world.report(2, taken_by(YARD)).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.roof().mute_since, None);
    }
}
