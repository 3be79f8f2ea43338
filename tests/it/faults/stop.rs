//! SIGTERM, as every deployment and reboot sends it.

use crate::support::{Database, Load, World, on_both_stores};

on_both_stores! {
    told_to_stop_under_load_it_exits_with_0_in_time_and_goes_on_afterwards,
}

async fn told_to_stop_under_load_it_exits_with_0_in_time_and_goes_on_afterwards(
    database: Database,
) {
    let mut world = World::in_a_hurry(database).await;
    let load = Load::start(&world, 1);
    for _ in 0..3 {
        load.flows(10).await;
        assert_eq!(world.service.terminate().await, Some(0));
        world.restart().await;
    }
    let accepted = load.stop().await;
    world.keeps_its_promises(&accepted).await;
}
