//! ChirpStack's word does not arrive, arrives twice, or late.

use downbeat_sim::model::config::WebhookConfig;

use crate::support::{Database, Load, World, on_both_stores};

on_both_stores! {
    webhooks_that_are_lost_doubled_and_late_change_no_promise,
    while_no_webhook_arrives_nothing_is_claimed_and_afterwards_all_is_proven,
}

async fn webhooks_that_are_lost_doubled_and_late_change_no_promise(database: Database) {
    let world = World::in_a_hurry(database).await;
    let load = Load::start(&world, 1);
    world.deliver(|webhooks| {
        webhooks.loss = 0.3;
        webhooks.duplicate = 0.2;
        webhooks.reorder = 0.3;
    });
    load.flows(60).await;
    let accepted = load.stop().await;
    world.deliver(|webhooks| *webhooks = WebhookConfig::default());
    let states = world.keeps_its_promises(&accepted).await;
    println!("{} commands: {states:?}", accepted.len());
}

async fn while_no_webhook_arrives_nothing_is_claimed_and_afterwards_all_is_proven(
    database: Database,
) {
    let world = World::in_a_hurry(database).await;
    let load = Load::start(&world, 1);
    load.flows(5).await;
    world.deliver(|webhooks| webhooks.loss = 1.0);
    load.flows(20).await;
    let accepted = load.stop().await;
    world.deliver(|webhooks| *webhooks = WebhookConfig::default());
    world.keeps_its_promises(&accepted).await;
}

impl World {
    /// Has the simulated ChirpStack deliver from now on as changed.
    fn deliver(&self, change: impl FnOnce(&mut WebhookConfig)) {
        self.sim.network(|network, _| {
            let mut webhooks = network.config().webhooks;
            change(&mut webhooks);
            network.set_webhooks(webhooks);
        });
    }
}
