//! The database's disk is full, and then has room again.

use downbeat_testdb::Server;

use crate::support::{Database, Load, SmallDisk, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_has_no_room() {
    // Often enough for its log to have no room, were it longer each time.
    fills_and_empties(Database::SqliteOn(SmallDisk::of_mebibytes(10)), 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_has_no_room() {
    let disk = SmallDisk::of_mebibytes(128);
    let server = Server::start_own_in(disk.path());
    fills_and_empties(Database::ServerOn(server, disk), 3).await;
}

async fn fills_and_empties(database: Database, times: usize) {
    let mut world = World::in_a_hurry(database).await;
    let load = Load::start(&world, 1);
    for _ in 0..times {
        load.flows(10).await;
        world.service.disk().fill();
        load.is_refused(10).await;
        world.service.disk().free();
    }
    load.flows(10).await;
    // Killed without room, it starts when there is some.
    world.service.disk().fill();
    load.is_refused(10).await;
    world.service.kill();
    world.service.disk().free();
    world.restart().await;
    load.flows(10).await;
    let accepted = load.stop().await;
    let states = world.keeps_its_promises(&accepted).await;
    println!("{} commands: {states:?}", accepted.len());
}
