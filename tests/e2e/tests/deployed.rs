//! The deployed stack, driven from outside only: people in Salesforce, SQL in the app, an operator's commands.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::traffic::Traffic;
use e2e::world::World;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deployed_stack_loses_and_doubles_nothing() {
    let world = World::deploy().await;
    let mut traffic = world.traffic(1).await;
    world.poll_now().await;
    edits_both_ways(&world, &mut traffic).await;
}

async fn edits_both_ways(world: &World, traffic: &mut Traffic) {
    for _ in 0..60 {
        traffic.something().await;
    }
    world.holds(2 * MINUTE, "edits both ways").await;
}
